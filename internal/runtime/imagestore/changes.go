package imagestore

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	"github.com/moby/sys/signal"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/runtime/ocispec"
)

// applyChanges changes an image configuration by Dockerfile instructions, as
// `docker import --change` and `docker commit --change` give them.
func applyChanges(base dockerspec.DockerOCIImageConfig, changes []string) (dockerspec.DockerOCIImageConfig, error) {
	if len(changes) == 0 {
		return base, nil
	}
	e := editor{config: base}
	text, done := strings.ReplaceAll(strings.Join(changes, "\n"), "\\\n", ""), 0
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		word, rest, _ := strings.Cut(line, " ")
		if err := e.apply(strings.ToUpper(word), strings.TrimSpace(rest)); err != nil {
			return e.config, model.Errorf(model.Invalid, "%w", err)
		}
		done++
	}
	if done == 0 {
		return base, model.Errorf(model.Invalid, "file with no instructions")
	}
	return e.config, nil
}

// editor changes a configuration.
type editor struct {
	config  dockerspec.DockerOCIImageConfig
	command bool // CMD was among the instructions
}

// apply follows one instruction.
func (e *editor) apply(word, rest string) error {
	c := &e.config
	known := map[string]func(string) error{
		"CMD": e.setCommand, "ENTRYPOINT": e.setEntrypoint, "EXPOSE": e.expose, "VOLUME": e.addVolumes, "ENV": e.setEnv, "LABEL": e.setLabels,
		"HEALTHCHECK": func(rest string) (err error) { c.Healthcheck, err = healthInstruction(rest); return err },
		"ONBUILD":     func(rest string) error { c.OnBuild = append(slices.Clone(c.OnBuild), rest); return nil },
		"USER":        e.single(func(v string) error { c.User = v; return nil }),
		"WORKDIR":     e.single(func(v string) error { c.WorkingDir = path.Join(orRoot(v, c.WorkingDir), v); return nil }),
		"STOPSIGNAL": e.single(func(v string) error {
			c.StopSignal = v
			_, err := signal.ParseSignal(v)
			return err
		}),
	}
	do, ok := known[word]
	switch {
	case !ok:
		return fmt.Errorf("%s is not a valid change command", strings.ToLower(word))
	case rest == "":
		return fmt.Errorf("%s requires at least one argument", word)
	}
	return do(rest)
}

// orRoot returns the folder that a path is relative to.
func orRoot(name, current string) string {
	if path.IsAbs(name) || current == "" {
		return "/"
	}
	return current
}

// single returns an instruction of one word, which may name variables.
func (e *editor) single(set func(string) error) func(string) error {
	return func(rest string) error {
		words, err := quotedWords(rest, e.variable)
		if err != nil {
			return err
		}
		return set(strings.Join(words, " "))
	}
}

// variable returns a variable of the configuration as it was before the instruction.
func (e *editor) variable(name string) string {
	for _, pair := range slices.Backward(e.config.Env) {
		if key, value, _ := strings.Cut(pair, "="); key == name {
			return value
		}
	}
	return ""
}

func (e *editor) setCommand(rest string) error {
	e.config.Cmd, e.command = e.commandLine(rest), true
	return nil
}

// setEntrypoint leaves the command out that was made for another entrypoint.
func (e *editor) setEntrypoint(rest string) error {
	e.config.Entrypoint = e.commandLine(rest)
	if !e.command {
		e.config.Cmd = nil
	}
	return nil
}

// commandLine reads the JSON form of a command, or a line for the shell.
func (e *editor) commandLine(rest string) []string {
	var list []string
	if err := json.Unmarshal([]byte(rest), &list); err == nil {
		return list
	}
	shell := e.config.Shell
	if len(shell) == 0 {
		shell = []string{"/bin/sh", "-c"}
	}
	return append(slices.Clone(shell), rest)
}

func (e *editor) expose(rest string) error {
	words, err := quotedWords(rest, e.variable)
	if err != nil {
		return err
	}
	e.config.ExposedPorts = cloned(e.config.ExposedPorts)
	for _, text := range strings.Fields(strings.Join(words, " ")) {
		ports, err := exposedPorts(text)
		if err != nil {
			return err
		}
		for _, port := range ports {
			e.config.ExposedPorts[port] = struct{}{}
		}
	}
	return nil
}

func (e *editor) addVolumes(rest string) error {
	var list []string
	if err := json.Unmarshal([]byte(rest), &list); err != nil {
		if list, err = quotedWords(rest, e.variable); err != nil {
			return err
		}
	}
	e.config.Volumes = cloned(e.config.Volumes)
	for _, v := range list {
		if v == "" {
			return errors.New("VOLUME specified can not be an empty string")
		}
		e.config.Volumes[v] = struct{}{}
	}
	return nil
}

func (e *editor) setEnv(rest string) error {
	pairs, err := e.assignments("ENV", rest)
	for _, p := range pairs {
		e.config.Env = ocispec.MergeEnvironment(e.config.Env, []string{p[0] + "=" + p[1]})
	}
	return err
}

func (e *editor) setLabels(rest string) error {
	pairs, err := e.assignments("LABEL", rest)
	e.config.Labels = cloned(e.config.Labels)
	for _, p := range pairs {
		e.config.Labels[p[0]] = p[1]
	}
	return err
}

// cloned returns a copy that can be written to.
func cloned[V any](m map[string]V) map[string]V {
	if m == nil {
		return map[string]V{}
	}
	return maps.Clone(m)
}

// assignments reads `KEY=value KEY2="a value"`, or the old `KEY value`.
func (e *editor) assignments(word, rest string) ([][2]string, error) {
	words, err := quotedWords(rest, e.variable)
	if err != nil {
		return nil, err
	}
	if first, _, _ := strings.Cut(rest, " "); !strings.Contains(first, "=") {
		key, _, found := strings.Cut(rest, " ")
		if !found {
			return nil, fmt.Errorf("%s must have two arguments", word)
		}
		return [][2]string{{key, strings.Join(words[1:], " ")}}, nil
	}
	var out [][2]string
	for _, w := range words {
		key, value, found := strings.Cut(w, "=")
		if !found || key == "" {
			return nil, fmt.Errorf("Syntax error - can't find = in %q. Must be of the form: name=value", w)
		}
		out = append(out, [2]string{key, value})
	}
	return out, nil
}

// quotedWords splits at blanks outside quotes, takes quotes and backslashes away, and puts
// values in the place of variables ($A, ${A}, ${A:-otherwise}, ${A:+instead}) but in single
// quotes.
func quotedWords(s string, variable func(string) string) ([]string, error) {
	var out []string
	var word strings.Builder
	var quote byte
	inWord := false
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '\\' && quote != '\'' && i+1 == len(s), c == '$' && quote != '\'' && strings.HasPrefix(s[i:], "${") && !strings.Contains(s[i:], "}"):
			return nil, errors.New("unexpected end of statement while looking for matching quote")
		case c == '\\' && quote != '\'':
			i++
			word.WriteByte(s[i])
			inWord = true
		case c == '$' && quote != '\'':
			value, length := substitute(s[i:], variable)
			word.WriteString(value)
			i += length - 1
			inWord = true
		case quote != 0 && c == quote:
			quote = 0
		case quote == 0 && (c == '"' || c == '\''):
			quote, inWord = c, true
		case quote == 0 && (c == ' ' || c == '\t'):
			if inWord {
				out = append(out, word.String())
				word.Reset()
				inWord = false
			}
		default:
			word.WriteByte(c)
			inWord = true
		}
	}
	if quote != 0 {
		return nil, errors.New("unexpected end of statement while looking for matching quote")
	}
	if inWord {
		out = append(out, word.String())
	}
	if len(out) == 0 {
		return nil, errors.New("no arguments")
	}
	return out, nil
}

// substitute returns what stands for the variable that s, which begins with a dollar sign,
// begins with, and how many bytes of s that is.
func substitute(s string, variable func(string) string) (value string, length int) {
	if strings.HasPrefix(s, "${") {
		end := strings.IndexByte(s, '}') // there is one
		name, word, _ := strings.Cut(s[2:end], ":")
		value = variable(name)
		switch {
		case strings.HasPrefix(word, "-") && value == "", strings.HasPrefix(word, "+") && value != "":
			value = word[1:]
		}
		return value, end + 1
	}
	end := 1
	for end < len(s) && (s[end] == '_' || s[end] >= 'a' && s[end] <= 'z' || s[end] >= 'A' && s[end] <= 'Z' || end > 1 && s[end] >= '0' && s[end] <= '9') {
		end++
	}
	if end == 1 {
		return "$", 1
	}
	return variable(s[1:end]), end
}

// exposedPorts reads "80", "80/udp" or "80-90/tcp".
func exposedPorts(text string) ([]string, error) {
	bad := fmt.Errorf("invalid containerPort: %s", text)
	numbers, protocol, found := strings.Cut(text, "/")
	if protocol = strings.ToLower(protocol); !found || protocol == "" {
		protocol = "tcp"
	}
	if !slices.Contains([]string{"tcp", "udp", "sctp"}, protocol) {
		return nil, bad
	}
	from, to, ranged := strings.Cut(numbers, "-")
	first, err := strconv.ParseUint(from, 10, 16)
	if err != nil {
		return nil, bad
	}
	last := first
	if ranged {
		if last, err = strconv.ParseUint(to, 10, 16); err != nil || last < first {
			return nil, bad
		}
	}
	var out []string
	for port := first; port <= last; port++ {
		out = append(out, strconv.FormatUint(port, 10)+"/"+protocol)
	}
	return out, nil
}
