package workload

import (
	"crypto/rand"
	"math/big"
	"strings"

	"github.com/linkspan/linkspan/internal/containerspec"
	"github.com/linkspan/linkspan/internal/model"
)

// reserve gives a name to a container that is about to be; an empty name is
// replaced by a generated one.
func (m *Manager) reserve(name string, id model.ContainerID) (string, error) {
	if name == "" {
		return m.generateName(id), nil
	}
	name = strings.TrimPrefix(name, "/")
	if err := containerspec.CheckName(name); err != nil {
		return "", err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if holder, taken := m.names[name]; taken {
		return "", model.Errorf(model.Conflict, "Conflict. The container name %q is already in use by container %q. "+
			"You have to remove (or rename) that container to be able to reuse that name.", "/"+name, holder)
	}
	m.names[name] = id
	return name, nil
}

// release gives a name back, if id has it.
func (m *Manager) release(name string, id model.ContainerID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.names[name] == id {
		delete(m.names, name)
	}
}

// generateName reserves a name nobody has.
func (m *Manager) generateName(id model.ContainerID) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	for range 6 {
		name := draw(adjectives()) + "_" + draw(surnames())
		if _, taken := m.names[name]; !taken {
			m.names[name] = id
			return name
		}
	}
	m.names[model.Short(id)] = id // as unique as the ID
	return model.Short(id)
}

func draw(words []string) string {
	n, err := rand.Int(rand.Reader, big.NewInt(int64(len(words))))
	if err != nil { // crypto/rand never fails
		return words[0]
	}
	return words[n.Int64()]
}

func adjectives() []string {
	return strings.Fields(`able amber ample azure bold brave breezy bright brisk calm candid careful cheerful
		clear clever crisp curious daring dapper deft eager early earnest easy elegant fair fearless fine
		fleet fond frank fresh friendly gentle glad golden graceful grand happy hardy honest humble jolly
		keen kind lively loyal lucid lucky mellow merry mild modest neat nimble noble patient placid polite
		prompt proud quick quiet ready robust serene sharp silent smart snug sober solid spry stable steady
		stoic sunny swift tender tidy tranquil upbeat vivid warm wise witty zesty`)
}

// surnames of people to whom networks and computing owe something.
func surnames() []string {
	return strings.Fields(`abramson allen baran bartik bell berners boggs boole cerf cheriton clark codd cohen
		crocker davies deering diffie dijkstra easley engelbart estrin feinler floyd hamilton hamming hedy
		hellman hertz holberton hopper jacobson johnson kahn karels kleinrock knuth lamport lampson licklider
		liskov lovelace marconi maxwell mccarthy mcilroy metcalfe mills mockapetris morse naur nygaard
		nyquist partridge perlman pike plummer postel pouzin rekhter ritchie roberts shannon stallings
		stevens sutherland swinehart taylor thacker thompson tomlinson torvalds turing wirth zimmermann`)
}
