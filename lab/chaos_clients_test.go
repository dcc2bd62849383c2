package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"time"
)

const (
	chaosContainers = 40 // names that containers may have: so many there are at most
	chaosNetworks   = 8
	// askTime bounds a request that shall be answered: longer than what the engine grants itself.
	askTime = time.Minute
	// lookTime is how long a client looks at a stream that need not end.
	lookTime = 300 * time.Millisecond
)

// chaosClient is one of the clients: it asks one random thing after the other.
type chaosClient struct {
	number int
	random *rand.Rand
	api    *api
}

// command is something that a client may ask.
type command struct {
	name   string
	weight int
	ask    func(*chaosClient, context.Context) reply
}

// chaosCommands are all there are. The weights keep about half of the names in use, and most of those running.
func chaosCommands() []command {
	return []command{
		{"create", 10, (*chaosClient).create},
		{"run", 22, (*chaosClient).run},
		{"start", 12, onContainer("start")},
		{"stop", 5, onContainer("stop?t=%d", 2)},
		{"kill", 4, onContainer("kill")},
		{"restart", 5, onContainer("restart?t=%d", 2)},
		{"pause", 4, onContainer("pause")},
		{"unpause", 5, onContainer("unpause")},
		{"rename", 3, (*chaosClient).rename},
		{"rm", 4, (*chaosClient).remove},
		{"rm -f", 12, (*chaosClient).removeByForce},
		{"exec", 6, (*chaosClient).exec},
		{"logs", 4, (*chaosClient).logs},
		{"logs -f", 2, (*chaosClient).follow},
		{"attach", 3, (*chaosClient).attach},
		{"wait", 1, (*chaosClient).wait},
		{"inspect", 5, (*chaosClient).inspect},
		{"ps", 3, (*chaosClient).list},
		{"network create", 5, (*chaosClient).createNetwork},
		{"network rm", 3, (*chaosClient).removeNetwork},
		{"network connect", 6, (*chaosClient).connect},
		{"network disconnect", 4, (*chaosClient).disconnect},
		{"network inspect", 2, (*chaosClient).inspectNetwork},
	}
}

// pick draws a command.
func (c *chaosClient) pick(from []command) command {
	sum := 0
	for _, one := range from {
		sum += one.weight
	}
	at := c.random.IntN(sum)
	for _, one := range from {
		if at -= one.weight; at < 0 {
			return one
		}
	}
	return from[0]
}

// chance is true so many times in a hundred.
func (c *chaosClient) chance(percent int) bool { return c.random.IntN(100) < percent }

// container draws a name. None may be the beginning of an ID, which is in hexadecimal.
func (c *chaosClient) container() string {
	return fmt.Sprintf("box%02d", c.random.IntN(chaosContainers))
}

func (c *chaosClient) network() string { return fmt.Sprintf("net%d", c.random.IntN(chaosNetworks)) }

// onContainer is a request without a body about some container; a format in it takes numbers below the given ones.
func onContainer(verb string, limits ...int) func(*chaosClient, context.Context) reply {
	return func(c *chaosClient, ctx context.Context) reply {
		var numbers []any
		for _, limit := range limits {
			numbers = append(numbers, c.random.IntN(limit))
		}
		return c.post(ctx, "/containers/"+c.container()+"/"+fmt.Sprintf(verb, numbers...), nil)
	}
}

// post asks for something that is done before the answer comes.
func (c *chaosClient) post(ctx context.Context, path string, body any) reply {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	return c.api.ask(ctx, http.MethodPost, path, body)
}

// look reads what there is to read within a moment. No answer in that time is one, too.
func (c *chaosClient) look(ctx context.Context, path string) reply {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	r := c.api.ask(ctx, http.MethodGet, path, nil)
	if errors.Is(r.err, context.DeadlineExceeded) {
		r.err = nil
	}
	return r
}

// get asks for what the engine knows.
func (c *chaosClient) get(ctx context.Context, path string) reply {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	return c.api.ask(ctx, http.MethodGet, path, nil)
}

// The Engine API's words, as far as they are needed here.
type (
	createRequest struct {
		Image       string
		Cmd         []string
		StopTimeout int
		HostConfig  hostRequest
	}
	hostRequest struct {
		NetworkMode   string
		AutoRemove    bool
		RestartPolicy restartRequest
	}
	restartRequest struct {
		Name              string
		MaximumRetryCount int
	}
	networkRequest struct {
		Name                 string
		Internal, EnableIPv6 bool
	}
	connectRequest struct {
		Container string
		Force     bool
	}
	execRequest struct {
		Cmd                        []string
		AttachStdout, AttachStderr bool
	}
)

// sleeps is what a container does that only has to be there.
var sleeps = []string{"sleep", "1000"}

// create makes a container: most sleep, some talk, some soon end, of these some try again.
func (c *chaosClient) create(ctx context.Context) reply { return c.createNamed(ctx, c.container()) }

func (c *chaosClient) createNamed(ctx context.Context, name string) reply {
	r := createRequest{Image: "busybox", Cmd: sleeps, StopTimeout: 1}
	r.HostConfig.NetworkMode = c.network()
	switch at := c.random.IntN(100); {
	case at < 15:
		r.HostConfig.NetworkMode = "bridge"
	case at < 20:
		r.HostConfig.NetworkMode = "none"
	}
	switch at := c.random.IntN(100); {
	case at < 15:
		r.Cmd = []string{"sh", "-c", "while :; do echo tick; sleep 0.1; done"}
		r.HostConfig.AutoRemove = c.chance(20)
	case at < 30:
		r.Cmd = []string{"sh", "-c", "sleep 0.3; echo end; exit 3"}
		r.HostConfig.AutoRemove = c.chance(40)
	case at < 35:
		r.Cmd = []string{"sh", "-c", "sleep 0.1; exit 4"}
		r.HostConfig.RestartPolicy = restartRequest{"on-failure", 2}
	case at < 50:
		r.HostConfig.RestartPolicy.Name = []string{"always", "unless-stopped"}[c.random.IntN(2)]
	case at < 60:
		r.HostConfig.AutoRemove = true
	}
	return c.post(ctx, "/containers/create?name="+name, r)
}

// run is what docker run -d asks.
func (c *chaosClient) run(ctx context.Context) reply {
	name := c.container()
	r := c.createNamed(ctx, name)
	if r.err != nil || r.status >= http.StatusBadRequest {
		return r
	}
	return c.post(ctx, "/containers/"+name+"/start", nil)
}

func (c *chaosClient) rename(ctx context.Context) reply {
	return c.post(ctx, "/containers/"+c.container()+"/rename?name="+c.container(), nil)
}

func (c *chaosClient) remove(ctx context.Context) reply {
	return c.delete(ctx, "/containers/"+c.container())
}

func (c *chaosClient) removeByForce(ctx context.Context) reply {
	return c.delete(ctx, "/containers/"+c.container()+"?force=1&v=1")
}

func (c *chaosClient) delete(ctx context.Context, path string) reply {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	return c.api.ask(ctx, http.MethodDelete, path, nil)
}

// exec has a container say its name, and now and then leaves before it has.
func (c *chaosClient) exec(ctx context.Context) reply {
	r := c.post(ctx, "/containers/"+c.container()+"/exec", execRequest{
		Cmd: []string{"sh", "-c", "hostname; sleep 0.05"}, AttachStdout: true, AttachStderr: true,
	})
	if r.err != nil || r.status >= http.StatusBadRequest {
		return r
	}
	var made struct{ ID string }
	if err := json.Unmarshal(r.body, &made); err != nil {
		return reply{err: err}
	}
	if c.chance(20) {
		ctx, cancel := context.WithTimeout(ctx, lookTime)
		defer cancel()
		return c.api.upgrade(ctx, "/exec/"+made.ID+"/start")
	}
	return c.post(ctx, "/exec/"+made.ID+"/start", struct{ Detach bool }{c.chance(20)})
}

func (c *chaosClient) logs(ctx context.Context) reply {
	return c.get(ctx, "/containers/"+c.container()+"/logs?stdout=1&stderr=1&tail=10")
}

func (c *chaosClient) follow(ctx context.Context) reply {
	return c.look(ctx, "/containers/"+c.container()+"/logs?stdout=1&stderr=1&follow=1")
}

func (c *chaosClient) attach(ctx context.Context) reply {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	return c.api.upgrade(ctx, "/containers/"+c.container()+"/attach?stream=1&stdout=1&stderr=1")
}

func (c *chaosClient) wait(ctx context.Context) reply {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	r := c.api.ask(ctx, http.MethodPost, "/containers/"+c.container()+"/wait", nil)
	if errors.Is(r.err, context.DeadlineExceeded) {
		r.err = nil
	}
	return r
}

func (c *chaosClient) inspect(ctx context.Context) reply {
	return c.get(ctx, "/containers/"+c.container()+"/json")
}

func (c *chaosClient) list(ctx context.Context) reply {
	return c.get(ctx, "/containers/json?all=1&filters="+url.QueryEscape(`{"status":["running"]}`))
}

func (c *chaosClient) createNetwork(ctx context.Context) reply {
	return c.post(ctx, "/networks/create", networkRequest{Name: c.network(), Internal: c.chance(20), EnableIPv6: c.chance(20)})
}

func (c *chaosClient) removeNetwork(ctx context.Context) reply {
	return c.delete(ctx, "/networks/"+c.network())
}

func (c *chaosClient) connect(ctx context.Context) reply {
	return c.post(ctx, "/networks/"+c.network()+"/connect", connectRequest{Container: c.container()})
}

func (c *chaosClient) disconnect(ctx context.Context) reply {
	return c.post(ctx, "/networks/"+c.network()+"/disconnect", connectRequest{c.container(), c.chance(30)})
}

func (c *chaosClient) inspectNetwork(ctx context.Context) reply {
	return c.get(ctx, "/networks/"+c.network())
}
