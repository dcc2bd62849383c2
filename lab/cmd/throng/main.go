// Throng opens COUNT connections to ADDRESS:PORT, says nothing on them, and holds those
// that it gets for SECONDS.
package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "throng:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 3 {
		return errors.New("usage: throng ADDRESS:PORT COUNT SECONDS")
	}
	count, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	seconds, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	var held []net.Conn
	for range count {
		c, err := net.DialTimeout("tcp", args[0], time.Second)
		if err == nil {
			held = append(held, c)
		}
	}
	fmt.Printf("%d of %d connections\n", len(held), count)
	time.Sleep(time.Duration(seconds) * time.Second)
	return nil
}
