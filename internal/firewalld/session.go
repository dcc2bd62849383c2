package firewalld

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/godbus/dbus/v5"
)

// Names on the bus: D-Bus specification; firewalld.dbus(5).
const (
	busName    = "org.freedesktop.DBus"
	service    = "org.fedoraproject.FirewallD1"
	objectPath = dbus.ObjectPath("/org/fedoraproject/FirewallD1")
	configPath = objectPath + "/config"
)

const (
	// callTime bounds one call: firewalld answers within a tenth of a second, or when
	// it has done with what it is at.
	callTime = 10 * time.Second
	// reloadTime bounds a reload, which takes seconds where there are many rules.
	reloadTime = time.Minute
)

// session is one connection to the bus.
type session struct {
	*Firewalld
	conn  *dbus.Conn
	watch *watch
	ready bool // the zone was seen, or made
	// settled are the bridges whose membership was seen to since firewalld has loaded
	// its configuration; mine those that have ever joined.
	settled, mine map[string]bool
}

// session follows firewalld for as long as the bus does not go away.
func (f *Firewalld) session(ctx context.Context) error {
	s := &session{Firewalld: f, watch: newWatch(), settled: map[string]bool{}, mine: map[string]bool{}}
	var err error
	if s.conn, err = dial(ctx, f.address, s.watch); err != nil {
		return err
	}
	defer s.conn.Close() //nolint:errcheck // what was to be said was said
	if err := s.subscribe(ctx); err != nil {
		return err
	}
	pause := retryTime
	for {
		var retry <-chan time.Time
		if err := s.step(ctx); err == nil {
			pause = retryTime
		} else if ctx.Err() == nil {
			s.warn("firewalld did not take bridges into its zone "+zone+"; it may reject what containers send", err)
			retry = time.After(pause)
			pause = min(2*pause, maxRetryTime)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.conn.Context().Done():
			return errors.New("the system bus has closed the connection")
		case <-s.watch.news:
		case <-f.news:
		case <-retry:
		}
	}
}

// subscribe asks for the signals, and then whether firewalld runs. It never makes the
// bus start it.
func (s *session) subscribe(ctx context.Context) error {
	for _, rule := range []string{
		fmt.Sprintf("type='signal',sender='%s',interface='%s',path='%s',member='Reloaded'", service, service, objectPath),
		fmt.Sprintf("type='signal',sender='%s',interface='%s',member='NameOwnerChanged',arg0='%s'", busName, busName, service),
	} {
		if _, err := s.ask(ctx, s.conn.BusObject(), busName+".AddMatch", rule); err != nil {
			return err
		}
	}
	answer, err := s.ask(ctx, s.conn.BusObject(), busName+".GetNameOwner", service)
	if codeOf(err) == busName+".Error.NameHasNoOwner" {
		s.watch.owned("")
		return nil
	}
	if err != nil {
		return err
	}
	var owner string
	if err := dbus.Store(answer, &owner); err != nil {
		return err
	}
	s.watch.owned(owner)
	return nil
}

// step does what has become necessary.
func (s *session) step(ctx context.Context) error {
	h := s.watch.take()
	anew := h.appeared || h.reloaded
	s.setRunning(h.owner != "", anew)
	if anew || h.owner == "" {
		s.ready = false
		clear(s.settled)
	}
	if h.owner == "" {
		return nil
	}
	if anew {
		s.log.Info("firewalld has started or reloaded: bridges join its zone again", "op", "firewalld.reload")
		if s.reloaded != nil {
			s.reloaded(ctx)
		}
	}
	return s.sync(ctx)
}

// ask calls a method and returns its answer.
func (s *session) ask(ctx context.Context, object dbus.BusObject, method string, args ...any) ([]any, error) {
	limit := callTime
	if method == reload {
		limit = reloadTime
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	call := object.CallWithContext(ctx, method, dbus.FlagNoAutoStart, args...)
	if call.Err != nil {
		return nil, fmt.Errorf("%s: %w", method, call.Err)
	}
	return call.Body, nil
}

// main asks firewalld, config its permanent configuration.
func (s *session) main(ctx context.Context, method string, args ...any) ([]any, error) {
	return s.ask(ctx, s.conn.Object(service, objectPath), method, args...)
}

func (s *session) config(ctx context.Context, method string, args ...any) ([]any, error) {
	return s.ask(ctx, s.conn.Object(service, configPath), service+".config."+method, args...)
}

// names asks for a list of names.
func (s *session) names(ctx context.Context, method string, args ...any) (out []string, err error) {
	answer, err := s.main(ctx, method, args...)
	if err != nil {
		return nil, err
	}
	if err := dbus.Store(answer, &out); err != nil {
		return nil, fmt.Errorf("%s: %w", method, err)
	}
	return out, nil
}
