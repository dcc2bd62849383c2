package iptables

import (
	"errors"
	"fmt"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// RemoveDockersTables removes the tables that a dockerd with its nftables backend has
// left in a network namespace, by its descriptor (0: the current one), and returns their
// names. A kernel without nf_tables has none.
func RemoveDockersTables(netns int) (removed []string, err error) {
	c, err := nftables.New(nftables.WithNetNSFd(netns))
	if err != nil {
		return nil, fmt.Errorf("open nfnetlink socket: %w", err)
	}
	for _, f := range []struct {
		family nftables.TableFamily
		name   string
	}{{nftables.TableFamilyIPv4, "ip"}, {nftables.TableFamilyIPv6, "ip6"}} {
		tables, err := c.ListTablesOfFamily(f.family)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("list tables of family %s: %w", f.name, err)
		}
		for _, t := range tables {
			if t.Name == dockersTable {
				c.DelTable(t)
				removed = append(removed, f.name+" "+t.Name)
			}
		}
	}
	if len(removed) == 0 {
		return nil, nil
	}
	if err := c.Flush(); err != nil {
		return nil, fmt.Errorf("remove tables %v: %w", removed, err)
	}
	return removed, nil
}

const dockersTable = "docker-bridges"
