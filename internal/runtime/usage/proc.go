package usage

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/linkspan/linkspan/internal/model"
)

const (
	// procLimit bounds what is read of a file in /proc, in bytes. A container may have as
	// many interfaces as it likes.
	procLimit = 1 << 20
	// tick is one unit of /proc/stat in nanoseconds: USER_HZ is 100 on every architecture
	// that Go runs Linux on (time(7)).
	tick = 1e9 / 100
)

// lines calls do for each line of a file until it returns false.
func lines(path string, do func(line string) bool) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	scanner := bufio.NewScanner(io.LimitReader(f, procLimit))
	for scanner.Scan() {
		if !do(scanner.Text()) {
			return nil
		}
	}
	return scanner.Err()
}

// readCPUs reads from /proc/stat the time of all CPUs together, in nanoseconds, and how
// many there are. Time of guests is in that of users.
func readCPUs(path string) (total uint64, online uint32, err error) {
	var bad error
	err = lines(path, func(line string) bool {
		name, rest, _ := strings.Cut(line, " ")
		switch {
		case name == "cpu":
			fields := strings.Fields(rest)
			for _, f := range fields[:min(7, len(fields))] {
				n, parsed := strconv.ParseUint(f, 10, 64)
				if parsed != nil {
					bad = fmt.Errorf("read %s: %w", path, parsed)
				}
				total += n * tick
			}
		case strings.HasPrefix(name, "cpu"):
			online++
		default:
			return false // they are the first lines
		}
		return true
	})
	if err == nil {
		err = bad
	}
	return total, online, err
}

// readMemory reads from /proc/meminfo how much memory the machine has, in bytes.
func readMemory(path string) (total uint64, err error) {
	var bad error
	err = lines(path, func(line string) bool {
		rest, found := strings.CutPrefix(line, "MemTotal:")
		if found {
			total, bad = strconv.ParseUint(strings.TrimSpace(strings.TrimSuffix(rest, "kB")), 10, 64)
		}
		return !found
	})
	if err == nil {
		err = bad
	}
	return total << 10, err
}

// readInterfaces reads the counters of interfaces from a process's net/dev.
func readInterfaces(path string) (map[string]model.NetworkUsage, error) {
	out := map[string]model.NetworkUsage{}
	err := lines(path, func(line string) bool {
		if name, one, ok := parseInterface(line); ok && name != "lo" {
			out[name] = one
		}
		return true
	})
	return out, err
}

// parseInterface reads a line of net/dev: the interface's name, eight counters of what came
// in and eight of what went out.
func parseInterface(line string) (name string, one model.NetworkUsage, ok bool) {
	// Names may have colons; counters have none.
	at := strings.LastIndexByte(line, ':')
	if at < 0 {
		return "", one, false // one of the two lines of headings
	}
	fields := strings.Fields(line[at+1:])
	if len(fields) < 16 {
		return "", one, false
	}
	for i, to := range map[int]*uint64{
		0: &one.RxBytes, 1: &one.RxPackets, 2: &one.RxErrors, 3: &one.RxDropped,
		8: &one.TxBytes, 9: &one.TxPackets, 10: &one.TxErrors, 11: &one.TxDropped,
	} {
		n, err := strconv.ParseUint(fields[i], 10, 64)
		if err != nil {
			return "", one, false
		}
		*to = n
	}
	return strings.TrimSpace(line[:at]), one, true
}
