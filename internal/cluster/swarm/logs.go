package swarm

import (
	"context"
	"io"
	"log/slog"
	"strings"

	"github.com/sirupsen/logrus"
)

// bridge returns a logger for swarmkit that writes into ours, with the keys of this
// house. What swarmkit calls an error is most often a peer that is away, and it tries
// again: it is one degree less here.
func bridge(to *slog.Logger) *logrus.Entry {
	l := logrus.New()
	l.SetOutput(io.Discard)
	l.SetLevel(logrus.InfoLevel)
	if to.Enabled(context.Background(), slog.LevelDebug) {
		l.SetLevel(logrus.DebugLevel)
	}
	l.AddHook(hook{to})
	return logrus.NewEntry(l)
}

// hook passes entries on.
type hook struct{ to *slog.Logger }

// Levels implements logrus.Hook.
func (hook) Levels() []logrus.Level { return logrus.AllLevels }

// levels are what swarmkit's degrees are here.
var levels = map[logrus.Level]slog.Level{
	logrus.PanicLevel: slog.LevelError, logrus.FatalLevel: slog.LevelError, logrus.ErrorLevel: slog.LevelWarn, logrus.WarnLevel: slog.LevelInfo,
}

// keys are how the fields are called here that are kept.
var keys = map[string]string{"node.id": "node", "task.id": "task", "service.id": "service", "network.id": "network", logrus.ErrorKey: "err"}

// Fire implements logrus.Hook.
func (h hook) Fire(e *logrus.Entry) error {
	level, ok := levels[e.Level]
	if !ok {
		level = slog.LevelDebug
	}
	op := "swarm"
	if module, ok := e.Data["module"].(string); ok && module != "" {
		op += "." + strings.ReplaceAll(module, "/", ".")
	}
	args := []any{"op", op}
	for _, name := range [...]string{"node.id", "task.id", "service.id", "network.id", logrus.ErrorKey} {
		value, ok := e.Data[name]
		if err, is := value.(error); is {
			value = err.Error() // without its stack
		}
		if ok {
			args = append(args, keys[name], value)
		}
	}
	h.to.Log(context.Background(), level, e.Message, args...)
	return nil
}
