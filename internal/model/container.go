package model

import (
	"io"
	"time"
)

// ContainerSpec is all a runtime needs to make one container: the hub's words to
// the runtime. Defaults (capabilities, seccomp, masked paths) are the runtime's;
// fields say what differs from them.
type ContainerSpec struct {
	ID       ContainerID
	Image    ImageID
	Hostname string
	Domain   string
	// Netns is the path of the network namespace; empty means the host's own.
	Netns string
	// Runtime runs the container; empty is runc.
	Runtime OCIRuntime
	HostPID bool
	HostIPC bool
	HostUTS bool
	// HostCgroup shows the container the cgroups of the host as they are.
	HostCgroup bool
	// PIDNamespace and IPCNamespace are paths of namespaces of other containers.
	PIDNamespace, IPCNamespace string
	// SharedMemory is the container, itself or another, whose shared memory is mounted at
	// /dev/shm: see StreamOptions. NoSharedMemory leaves /dev/shm out.
	SharedMemory   ContainerID
	NoSharedMemory bool
	Process        Process
	Mounts         []Mount
	Devices        []Device
	DeviceRules    []string // of the device cgroup, "c 13:* rwm"
	ReadonlyRootfs bool
	Privileged     bool
	CapAdd         []string // "NET_ADMIN", "CAP_NET_ADMIN" or "ALL"
	CapDrop        []string
	SecurityOpts   []string // "no-new-privileges", "seccomp=unconfined", "seccomp={…}", "apparmor=unconfined"
	// MaskedPaths cannot be read, ReadonlyPaths not be written; nil is the runtime's own
	// list, an empty one is none.
	MaskedPaths, ReadonlyPaths []string
	Sysctls                    map[string]string
	Resources                  Resources
	ShmSize                    int64 // bytes; 0 means 64 MiB
	CgroupParent               string
	Init                       bool // a small init reaps zombies as process 1
	// Annotations are handed to the OCI runtime as they are.
	Annotations map[string]string
}

// OCIRuntime is a shim of containerd's and, if it is not that shim's own, the program which the
// shim starts.
type OCIRuntime struct{ Shim, Program string }

// Process is a program to run: a container's first, or an exec's.
type Process struct {
	Args        []string
	Env         []string // "K=V"
	Dir         string   // working directory; empty means "/"
	User        string   // "name", "uid", "name:group", "uid:gid"; resolved inside the container
	ExtraGroups []string
	TTY         bool
	Width       uint // size of the terminal in characters; 0 leaves the kernel's default
	Height      uint
	Stdin       bool // keep standard input open
	Privileged  bool // for an exec: all of the daemon's own capabilities
	OOMScoreAdj int
	Rlimits     []Rlimit
}

// Rlimit is one of setrlimit(2)'s limits, by the name `--ulimit` uses ("nofile").
type Rlimit struct {
	Name string
	Soft int64
	Hard int64
}

// Mount is a bind mount or tmpfs.
type Mount struct {
	Type        string // "bind" or "tmpfs"
	Source      string // absolute path on the host for a bind
	Target      string // absolute path in the container
	ReadOnly    bool
	CopyUp      bool   // of a volume's folder: what the image has at Target is put into it if it is empty
	Propagation string // "rprivate" (default), "rslave", "rshared", …
	// NonRecursive binds without what is mounted below the source. A read-only mount is
	// so all the way down where the kernel can: ReadOnlyNonRecursive leaves what is below
	// as it is, ReadOnlyForceRecursive refuses where it cannot.
	NonRecursive, ReadOnlyNonRecursive, ReadOnlyForceRecursive bool
	Options                                                    []string
}

// Device is a host device made available to a container.
type Device struct {
	Source, Target, Permissions string // "/dev/net/tun", "/dev/net/tun", "rwm"
}

// Resources are cgroup limits; zero means no limit.
type Resources struct {
	Memory            int64 // bytes
	MemorySwap        int64 // bytes of memory and swap together; -1 unlimited
	MemoryReservation int64
	NanoCPUs          int64 // billionths of a CPU
	CPUShares         int64
	CPUQuota          int64 // microseconds per period
	CPUPeriod         int64
	CpusetCpus        string
	CpusetMems        string
	Pids              int64
	Swappiness        int64 // percent plus one, so that 0 says nothing
	NoOOMKiller       bool  // memory that is short stops processes instead of ending one
	RealtimePeriod    int64 // microseconds
	RealtimeRuntime   int64 // microseconds per period
	BlockIO           *BlockIO
}

// BlockIO limits what goes to block devices and comes from them. Devices are named by the
// paths of their nodes.
type BlockIO struct {
	Weight                                       uint16 // 10 to 1000; 0 says nothing
	DeviceWeights                                []DeviceRate
	ReadBytes, WriteBytes, ReadTimes, WriteTimes []DeviceRate // a second
}

// DeviceRate is a number for one device.
type DeviceRate struct {
	Path string
	Rate uint64
}

// Component is a program that the daemon works with.
type Component struct{ Name, Version, Commit string }

// Exit is how a process ended.
type Exit struct {
	Code      int
	At        time.Time
	OOMKilled bool
}

// StreamOptions say which standard streams a process gets.
type StreamOptions struct {
	TTY   bool // one terminal instead of pipes: no separate standard error
	Stdin bool
	// Open, if set, is called when the pipes exist and the process does not yet: who
	// reads its output opens them then.
	Open func(Pipes) error
	// SharedMemory, if not 0, is how many bytes of shared memory the container has that
	// others may have too.
	SharedMemory int64
}

// Task is a container's first process.
type Task struct {
	Pid   int
	Stdin io.WriteCloser // nil unless it was asked for
	Pipes Pipes          // where its output comes
	// Started says that it runs, and has opened its ends of the pipes.
	Started bool
}

// Streams are the engine's ends of an exec's standard streams. Stdin is nil
// unless it was asked for, Stderr is nil with a terminal. Stdout and Stderr read
// io.EOF only after the process's last byte; whoever holds them closes them.
type Streams struct {
	Stdin  io.WriteCloser
	Stdout io.ReadCloser
	Stderr io.ReadCloser
}

// TaskState is what the runtime says about a container's process.
type TaskState string

// The states. A container without a process at all is TaskNone.
const (
	TaskNone    TaskState = "none"
	TaskCreated TaskState = "created"
	TaskRunning TaskState = "running"
	TaskPaused  TaskState = "paused"
	TaskStopped TaskState = "stopped"
	TaskUnknown TaskState = "unknown"
)

// TaskStatus is what the runtime knows of one of our containers. Exit is set
// only in state TaskStopped, Pid only while there is a process.
type TaskStatus struct {
	ID    ContainerID
	Pid   int
	State TaskState
	Exit  Exit
	// Draft says that the container has files, and is yet to be made.
	Draft bool
}

// Image is a stored image as `docker image inspect` knows it.
type Image struct {
	ID           ImageID // digest of its configuration
	Tags         []string
	Digests      []string
	Created      time.Time
	Size         int64 // bytes on disk, unpacked
	Architecture string
	OS           string
	Variant      string
	Author       string
	Comment      string
	Layers       []string   // diff IDs, lowest first
	LayerSizes   []int64    // bytes on disk, unpacked, of each; none where that is not known
	Target       Descriptor // the manifest or index that the names stand for
	Config       ImageConfig
	History      []ImageHistory
	// Damaged says why the image cannot be read, and so not be used; empty for a good
	// one. Of a damaged one no more is known than its names and, in place of an ID, the
	// digest of what they point to.
	Damaged string
}

// ImageConfig is what an image says about running it.
type ImageConfig struct {
	User         string
	Env          []string
	Entrypoint   []string
	Cmd          []string
	WorkingDir   string
	ExposedPorts []string // "80/tcp", sorted
	Volumes      []string
	Labels       map[string]string
	StopSignal   string
	Shell        []string     // of commands that are one line of text; nil means /bin/sh -c
	Healthcheck  *Healthcheck // nil if the image has none
	OnBuild      []string     // instructions for builds that begin with the image
}

// Commit is an image that is made of a container: the container's image, and what its own
// layer changes.
type Commit struct {
	Parent ImageID
	// Name may be empty. Author empty is that of the parent.
	Name, Author, Comment string
	// CreatedBy is what the container ran.
	CreatedBy string
	// Config is what Changes, instructions as in a Dockerfile, are applied to; what it leaves
	// out then is taken from Ran, what the container has.
	Config, Ran ImageConfig
	Changes     []string
}

// Healthcheck says how to find out whether a container is well. Zero means that
// whoever comes next decides: the image for a container, the daemon for an image.
type Healthcheck struct {
	// Test is {"NONE"}, {"CMD", program, arguments...} or {"CMD-SHELL", line};
	// empty inherits.
	Test          []string
	Interval      time.Duration
	Timeout       time.Duration
	StartPeriod   time.Duration
	StartInterval time.Duration
	Retries       int
}

// ImageHistory is one step of an image's making.
type ImageHistory struct {
	Created    time.Time
	CreatedBy  string
	Comment    string
	EmptyLayer bool
}
