package dockerapi

import (
	"bufio"
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/events"
)

func started() events.Message {
	return events.Message{Type: "container", Action: "start", Scope: "local", Time: 5, TimeNano: 5e9,
		Actor: events.Actor{ID: id("1"), Attributes: map[string]string{"name": "web", "image": "busybox:latest", "env": "test"}}}
}

// legacyEvent is what clients until 1.51 read.
type legacyEvent struct {
	Status string `json:"status"`
	ID     string `json:"id"`
	From   string `json:"from"`
	events.Message
}

func TestEventStream(t *testing.T) {
	b := newBench(t)
	b.Publish(started())
	b.subscribed = make(chan struct{}, 1)
	conn, _, answer := dial(t, b, "GET /v1.51/events?since=1&filters="+url.QueryEscape(`{"type":["container"]}`)+" HTTP/1.1\r\nHost: x\r\n\r\n")
	if answer.StatusCode != 200 || answer.Header.Get("Content-Type") != "application/json" {
		t.Fatalf("%d %v", answer.StatusCode, answer.Header)
	}
	lines := bufio.NewReader(answer.Body)
	read := func() (e legacyEvent) {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		return e
	}
	if e := read(); e.Status != "start" || e.ID != id("1") || e.From != "busybox:latest" || e.TimeNano != 5e9 {
		t.Errorf("past: %+v", e)
	}
	<-b.subscribed
	other := started()
	other.Type = "network"
	b.Publish(other)
	again := started()
	again.Action = "die"
	b.Publish(again)
	if e := read(); e.Action != "die" {
		t.Errorf("live: %+v", e)
	}
	conn.Close()
}

func TestEventForms(t *testing.T) {
	for _, c := range []struct{ version, accept, kind, line string }{
		{"1.56", "", "application/json", `{"Type":"container","Action":"start"`},
		{"1.56", "application/json-seq, application/x-ndjson", "application/json-seq", "\x1e" + `{"Type":"container"`},
		{"1.56", "text/html, application/jsonl", "application/jsonl", `{"Type":"container"`},
		{"1.52", "application/jsonl", "application/json", `{"Type":"container"`},
		{"1.51", "application/x-ndjson", "application/json", `{"status":"start","id":"` + id("1")},
	} {
		b := newBench(t)
		b.Publish(started())
		conn, _, answer := dial(t, b, "GET /v"+c.version+"/events?since=1 HTTP/1.1\r\nHost: x\r\nAccept: "+c.accept+"\r\n\r\n")
		line, err := bufio.NewReader(answer.Body).ReadString('\n')
		if err != nil || answer.Header.Get("Content-Type") != c.kind || !strings.HasPrefix(line, c.line) {
			t.Errorf("%+v: %v %q", c, answer.Header, line)
		}
		conn.Close()
	}
}

func TestEventRefusals(t *testing.T) {
	b := newBench(t)
	b.want(t, 400, "`since` time (20) cannot be after `until` time (10)", "GET", "/events?since=20&until=10")
	b.want(t, 400, `invalid value for 'since': failed to parse value as time or duration: invalid seconds \"x\": invalid syntax`, "GET", "/events?since=x")
	b.want(t, 400, `invalid filter`, "GET", "/events?filters=x")
}
