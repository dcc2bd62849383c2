package main

import (
	"fmt"
	"testing"

	"github.com/linkspan/linkspan/internal/config"
)

func TestOwnPorts(t *testing.T) {
	got := fmt.Sprint(ownPorts(config.Config{MetricsAddr: ":9323",
		Hosts: []string{"unix:///run/docker.sock", "tcp://127.0.0.1:2375", "tcp://:2376", "tcp://[::1]:2377", "tcp://name:2378", "fd://", "tcp://"}}))
	if want := "[127.0.0.1:2375 0.0.0.0:2376 [::]:2376 [::1]:2377 0.0.0.0:9323 [::]:9323]"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
