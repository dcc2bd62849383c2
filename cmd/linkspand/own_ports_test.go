package main

import (
	"fmt"
	"testing"
)

func TestOwnPorts(t *testing.T) {
	got := fmt.Sprint(ownPorts([]string{"unix:///run/docker.sock", "tcp://127.0.0.1:2375", "tcp://:2376", "tcp://[::1]:2377", "tcp://name:2378", "fd://", "tcp://"}))
	if want := "[127.0.0.1:2375 0.0.0.0:2376 [::]:2376 [::1]:2377]"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
