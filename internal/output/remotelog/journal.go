package remotelog

import (
	"bytes"
	"errors"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/journal"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/output/jsonlog"
)

// journalLog sends to the host's journal, with the fields that Docker sends
// (systemd.journal-fields(7)).
type journalLog struct {
	fields map[string]string
	sent   uint64
}

func openJournal(o model.Output) (sender, error) {
	if !journal.Enabled() {
		return nil, errors.New("journald is not enabled on this host")
	}
	fields := map[string]string{
		"CONTAINER_ID": model.Short(o.Container), "CONTAINER_ID_FULL": string(o.Container), "CONTAINER_NAME": o.Source.Name,
		"CONTAINER_TAG": o.Source.Tag, "IMAGE_NAME": o.Source.Image, "SYSLOG_IDENTIFIER": o.Source.Tag,
		"CONTAINER_LOG_EPOCH": string(o.Container) + "-" + strconv.FormatInt(time.Now().UnixNano(), 10),
	}
	for name, value := range o.Attributes {
		if key := fieldName(name); key != "" && name != "tag" {
			fields[key] = value
		}
	}
	return &journalLog{fields: fields}, nil
}

// fieldName makes a name one that journald takes: capitals, digits and underscores, of which
// none comes first.
func fieldName(name string) string {
	clean := strings.Map(func(c rune) rune {
		if c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' {
			return c
		}
		return '_'
	}, strings.ToUpper(name))
	return strings.TrimLeft(clean, "_")
}

func (j *journalLog) send(e jsonlog.Entry) error {
	j.sent++
	fields := maps.Clone(j.fields)
	fields["CONTAINER_LOG_ORDINAL"] = strconv.FormatUint(j.sent, 10)
	fields["SYSLOG_TIMESTAMP"] = e.Time.UTC().Format(time.RFC3339Nano)
	line, whole := bytes.CutSuffix(e.Line, []byte("\n"))
	if !whole {
		fields["CONTAINER_PARTIAL_MESSAGE"] = "true"
	}
	priority := journal.PriInfo
	if e.Stream == "stderr" {
		priority = journal.PriErr
	}
	return journal.Send(string(line), priority, fields)
}

func (*journalLog) close() error { return nil }
