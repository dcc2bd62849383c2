package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"
)

// notifyEnv names the socket on which a service manager waits for news of the
// daemon: a path, or a name in the abstract name space with an @ before it
// (sd_notify(3)). It is not set if nobody waits.
const notifyEnv = "NOTIFY_SOCKET"

// newsReady says that the API answers.
const newsReady = "READY=1"

// newsReloading says that the configuration is being read; newsReady follows, come
// of it what may.
const newsReloading = "RELOADING=1"

// newsStopping says that the daemon is about to end, and within which time: a
// service manager kills what takes longer than it expects.
func newsStopping(limit time.Duration) string {
	return fmt.Sprintf("STOPPING=1\nEXTEND_TIMEOUT_USEC=%d", limit.Microseconds())
}

// notifyPatience bounds the wait for a service manager that does not read: the
// daemon's own work matters more than the news of it.
const notifyPatience = 5 * time.Second

// notifier tells the service manager that started the daemon, if one did.
type notifier struct {
	socket string // "" if nobody waits
}

// takeNotifier returns the notifier of this process. It takes the variable out
// of the environment: a containerd that the daemon starts would find it there,
// and report itself as the service.
func takeNotifier() (notifier, error) {
	return notifier{os.Getenv(notifyEnv)}, os.Unsetenv(notifyEnv)
}

// tell sends one piece of news, and does nothing if nobody waits.
func (n notifier) tell(news string) (err error) {
	if n.socket == "" {
		return nil
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("tell the service manager %s: %w", news, err)
		}
	}()
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Net: "unixgram", Name: n.socket})
	if err != nil {
		return err
	}
	if err := conn.SetWriteDeadline(time.Now().Add(notifyPatience)); err != nil {
		return errors.Join(err, conn.Close())
	}
	_, err = conn.Write([]byte(news))
	return errors.Join(err, conn.Close())
}

// openNotifier is the daemon's first step: before anything that it starts.
func (d *daemon) openNotifier(context.Context) (err error) {
	if d.notifier, err = takeNotifier(); err == nil {
		d.watchdog, err = takeWatchdog()
	}
	return err
}

// tell sends news to the service manager. That it could not be told is no
// reason to end: containers need the daemon, with or without one.
func (d *daemon) tell(news string) {
	if err := d.notifier.tell(news); err != nil {
		d.log.Warn("the service manager was not told", "op", "daemon.notify", "err", err)
	}
}
