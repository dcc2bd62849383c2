package web

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkspan/linkspan/internal/privateapi"
)

// TestPagesCompareTogether: however many pages are open, and whenever they were opened, the kernel is compared once in a while;
// each page is told each time.
func TestPagesCompareTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		compared := 0
		c := newComparison(func(context.Context) (privateapi.Drift, error) {
			compared++
			time.Sleep(2 * time.Second) // in the bubble: what it takes
			return privateapi.Drift{}, nil
		}, compare)
		ctx, cancel := context.WithCancel(t.Context())
		var pages sync.WaitGroup
		told := make([]int, 4)
		for i := range told {
			pages.Go(func() { c.follow(ctx, func(privateapi.Drift) { told[i]++ }) })
			time.Sleep(time.Second) // in the bubble: the next is opened later
		}
		time.Sleep(50 * time.Second) // in the bubble: pages stay open
		cancel()
		pages.Wait()
		if compared != 4 {
			t.Errorf("compared %d times, want once every %s and what it takes: 4", compared, compare)
		}
		for i, n := range told {
			if n < 3 || n > 4 {
				t.Errorf("page %d was told %d times, want each of 4 times, but for the one that has not ended", i, n)
			}
		}
	})
}

// TestComparisonIsNobodys: the page that compares may go away; who waits compares then. A daemon that is away is not asked by
// every page.
func TestComparisonIsNobodys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		c := newComparison(func(ctx context.Context) (privateapi.Drift, error) {
			if asked++; asked == 1 {
				<-ctx.Done()
				return privateapi.Drift{}, ctx.Err()
			}
			return privateapi.Drift{}, errors.New("away")
		}, compare)
		first, leave := context.WithCancel(t.Context())
		var pages sync.WaitGroup
		pages.Go(func() { _, _, _ = c.now(first) })
		synctest.Wait()
		for range 2 {
			pages.Go(func() {
				if _, _, err := c.now(t.Context()); err == nil || err.Error() != "away" {
					t.Errorf("got %v, want what the daemon said", err)
				}
			})
		}
		synctest.Wait()
		leave()
		pages.Wait()
		if asked != 2 {
			t.Errorf("asked %d times, want by who went away, and by one of the two others", asked)
		}
	})
}
