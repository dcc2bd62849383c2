package model

// Pipes are the FIFOs (fifo(7)) that a process writes its output to, by path.
// With a terminal there is no Stderr.
type Pipes struct {
	Stdout string
	Stderr string
}

// Output says where a container's output comes from and where it is kept.
type Output struct {
	Container ContainerID
	Pipes     Pipes
	Log       string            // path of the log that is kept here; empty: none is
	Options   map[string]string // of the log driver, as in `--log-opt`
	// Running says that the container runs already: that a log server is not there must not
	// keep its output from being read.
	Running bool `json:",omitempty"`
	// Driver is the log driver; empty is json-file. Source is what one that sends output
	// elsewhere says of the container.
	Driver string    `json:",omitempty"`
	Source LogSource `json:",omitzero"`
	// Attributes are noted in the log with every line, by name. A keeper that does
	// not know them notes none.
	Attributes map[string]string `json:",omitempty"`
}

// LogSource is a container as log servers know it.
type LogSource struct{ Name, Image, Tag string }
