package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// clockTicks is the unit of processor time in /proc (proc_pid_stat(5)): USER_HZ, which is 100 on every Linux we know.
const clockTicks = 100

// processes are those of the side's daemons: by name, and in the process namespace of the side's host.
func (s *side) processes(names []string) ([]string, error) {
	home, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", s.host.PID()))
	if err != nil {
		return nil, err
	}
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	var found []string
	for _, dir := range all {
		if ns, err := os.Readlink(dir + "/ns/pid"); err != nil || ns != home {
			continue // another host's, a container's, or gone
		}
		name, err := os.ReadFile(dir + "/comm")
		if err == nil && slices.Contains(names, strings.TrimSpace(string(name))) {
			found = append(found, dir)
		}
	}
	return found, nil
}

// memory is what the side's processes of these names take, in MB: their proportional share of each page ("Pss",
// proc_pid_smaps(5)), so that the code of a program that runs a thousand times is counted once.
func (s *side) memory(names []string) (float64, error) {
	found, err := s.processes(names)
	if err != nil {
		return 0, err
	}
	if len(found) == 0 {
		return 0, errors.New("no process is called " + strings.Join(names, " or "))
	}
	total := 0.0
	for _, dir := range found {
		text, err := os.ReadFile(dir + "/smaps_rollup")
		if err != nil {
			return 0, err
		}
		for line := range strings.Lines(string(text)) {
			if words := strings.Fields(line); len(words) == 3 && words[0] == "Pss:" {
				kib, err := strconv.ParseFloat(words[1], 64)
				if err != nil {
					return 0, err
				}
				total += kib * 1024 / 1e6
			}
		}
	}
	return total, nil
}

// processorTime is what the side's daemons have taken so far.
func (s *side) processorTime() (time.Duration, error) {
	found, err := s.processes(s.daemons)
	if err != nil {
		return 0, err
	}
	ticks := 0
	for _, dir := range found {
		text, err := os.ReadFile(dir + "/stat")
		if err != nil {
			return 0, err
		}
		// The name, in brackets, may hold spaces; user and system time are the 12th and 13th word after it.
		words := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		for _, word := range words[11:13] {
			n, err := strconv.Atoi(word)
			if err != nil {
				return 0, err
			}
			ticks += n
		}
	}
	return time.Duration(ticks) * time.Second / clockTicks, nil
}
