// Command lookup asks for names as a program written in Go does: with Go's own resolver, which reads /etc/hosts and
// /etc/resolv.conf. It is built without cgo, so that it runs in any container. Each pair of arguments gives one line of
// what was found, in order, or why there is nothing:
//
//	lookup ip web ip4 web ip6 web ptr 172.18.0.2 mx web txt web
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"time"
)

// maxTime bounds all questions together.
const maxTime = 30 * time.Second

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), maxTime)
	defer cancel()
	args := os.Args[1:]
	if len(args)%2 != 0 {
		fmt.Fprintln(os.Stderr, "lookup: pairs of a kind (ip, ip4, ip6, ptr, mx, txt) and a name")
		os.Exit(2)
	}
	for pair := range slices.Chunk(args, 2) {
		found, err := find(ctx, pair[0], pair[1])
		slices.Sort(found)
		if err != nil {
			found = []string{reason(err)}
		}
		fmt.Printf("%s %s: %s\n", pair[0], pair[1], strings.Join(found, " "))
	}
}

// find asks one question.
func find(ctx context.Context, kind, name string) (found []string, err error) {
	r := net.Resolver{PreferGo: true}
	switch kind {
	case "ip", "ip4", "ip6":
		addrs, err := r.LookupNetIP(ctx, kind, name)
		for _, a := range addrs {
			found = append(found, a.Unmap().String())
		}
		return found, err
	case "ptr":
		return r.LookupAddr(ctx, name)
	case "txt":
		return r.LookupTXT(ctx, name)
	case "mx":
		all, err := r.LookupMX(ctx, name)
		for _, mx := range all {
			found = append(found, mx.Host)
		}
		return found, err
	}
	return nil, fmt.Errorf("kind %q is unknown", kind)
}

// reason says why there is nothing, without the name server's address.
func reason(err error) string {
	var failure *net.DNSError
	if errors.As(err, &failure) {
		return failure.Err
	}
	return err.Error()
}
