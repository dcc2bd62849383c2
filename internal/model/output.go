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
	Log       string            // path of the json-file log; empty: none is kept
	Options   map[string]string // of the log driver, as in `--log-opt`
	// Attributes are noted in the log with every line, by name. A keeper that does
	// not know them notes none.
	Attributes map[string]string `json:",omitempty"`
}
