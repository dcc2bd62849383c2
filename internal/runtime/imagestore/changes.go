package imagestore

import (
	"encoding/json"
	"fmt"
	"strings"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/runtime/ocispec"
)

// applyChanges builds an image configuration from Dockerfile instructions, as
// `docker import --change` gives them.
func applyChanges(changes []string) (dockerspec.DockerOCIImageConfig, error) {
	var c dockerspec.DockerOCIImageConfig
	for _, line := range changes {
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		if err := applyChange(&c, strings.ToUpper(word), strings.TrimSpace(rest)); err != nil {
			return c, &model.Error{Op: "image.import", Kind: model.Invalid, Err: err}
		}
	}
	return c, nil
}

func applyChange(c *dockerspec.DockerOCIImageConfig, word, rest string) error {
	if rest == "" {
		return fmt.Errorf("%s requires at least one argument", word)
	}
	switch word {
	case "CMD":
		c.Cmd = command(rest)
	case "ENTRYPOINT":
		c.Entrypoint = command(rest)
	case "USER":
		c.User = rest
	case "WORKDIR":
		c.WorkingDir = rest
	case "STOPSIGNAL":
		c.StopSignal = rest
	case "HEALTHCHECK":
		var err error
		c.Healthcheck, err = healthInstruction(rest)
		return err
	case "EXPOSE":
		c.ExposedPorts = exposed(c.ExposedPorts, rest)
	case "VOLUME":
		c.Volumes = volumes(c.Volumes, rest)
	case "ENV":
		pairs, err := assignments(word, rest)
		for _, p := range pairs {
			c.Env = ocispec.MergeEnvironment(c.Env, []string{p[0] + "=" + p[1]})
		}
		return err
	case "LABEL":
		pairs, err := assignments(word, rest)
		if c.Labels == nil {
			c.Labels = map[string]string{}
		}
		for _, p := range pairs {
			c.Labels[p[0]] = p[1]
		}
		return err
	default:
		return fmt.Errorf("%s is not a valid change command", strings.ToLower(word))
	}
	return nil
}

// command reads the JSON form of a command, or a line for the shell.
func command(rest string) []string {
	var list []string
	if err := json.Unmarshal([]byte(rest), &list); err == nil {
		return list
	}
	return []string{"/bin/sh", "-c", rest}
}

func exposed(have map[string]struct{}, rest string) map[string]struct{} {
	if have == nil {
		have = map[string]struct{}{}
	}
	for _, port := range strings.Fields(rest) {
		if !strings.Contains(port, "/") {
			port += "/tcp"
		}
		have[port] = struct{}{}
	}
	return have
}

func volumes(have map[string]struct{}, rest string) map[string]struct{} {
	if have == nil {
		have = map[string]struct{}{}
	}
	var list []string
	if err := json.Unmarshal([]byte(rest), &list); err != nil {
		list = strings.Fields(rest)
	}
	for _, v := range list {
		have[v] = struct{}{}
	}
	return have
}

// assignments reads `KEY=value KEY2="a value"`, or the old `KEY value`.
func assignments(word, rest string) ([][2]string, error) {
	words, err := quotedWords(rest)
	if err != nil {
		return nil, err
	}
	if !strings.Contains(words[0], "=") {
		key, value, found := strings.Cut(rest, " ")
		if !found {
			return nil, fmt.Errorf("%s must have two arguments", word)
		}
		return [][2]string{{key, strings.TrimSpace(value)}}, nil
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

// quotedWords splits at blanks outside quotes and takes quotes and backslashes
// away.
func quotedWords(s string) ([]string, error) {
	var out []string
	var word strings.Builder
	var quote rune
	inWord, escaped := false, false
	for _, c := range s {
		switch {
		case escaped:
			word.WriteRune(c)
			escaped = false
		case c == '\\' && quote != '\'':
			escaped, inWord = true, true
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
			word.WriteRune(c)
			inWord = true
		}
	}
	if quote != 0 || escaped {
		return nil, fmt.Errorf("unexpected end of statement while looking for matching quote")
	}
	if inWord {
		out = append(out, word.String())
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no arguments")
	}
	return out, nil
}
