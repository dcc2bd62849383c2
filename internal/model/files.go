package model

import (
	"errors"
	"io/fs"
	"time"
)

// ErrNoFile says that a container has no file at a path.
var ErrNoFile = errors.New("no such file or directory")

// FileView says from where the files of a container are looked at.
type FileView struct {
	ID ContainerID
	// Pid is its first process, through whose eyes they are seen: volumes, tmpfs and what
	// it mounted itself are there. 0 means that it does not run: then Mounts are put where
	// they will be, but for tmpfs, which has nothing in it yet.
	Pid    int
	Mounts []Mount
}

// FileStat is what is known of one file of a container, as lstat(2) has it.
type FileStat struct {
	Name    string
	Size    int64 // bytes
	Mode    fs.FileMode
	ModTime time.Time
	// LinkTarget is where a link leads in the end, as an absolute path in the container;
	// empty for what is none.
	LinkTarget string
}

// ExtractOptions say how an archive is unpacked in a container.
type ExtractOptions struct {
	// Keep refuses to put a folder in the place of something else, or the reverse.
	Keep bool
	// User, if not empty, is the user of the container, in the form of Process.User, whom
	// all that is unpacked belongs to. Else it belongs to whom the archive says.
	User string
	// Check, if set, is asked whether a folder may be written to, by its path in the
	// container without any link.
	Check func(folder string) error
}

// ChangeKind is what happened to a file of a container since its image.
type ChangeKind uint8

// The kinds, with the numbers of Docker's API.
const (
	FileModified ChangeKind = iota
	FileAdded
	FileDeleted
)

// FileChange is one file that differs from the image's.
type FileChange struct {
	Path string // absolute, in the container
	Kind ChangeKind
}

// TaskFile is a file that a task of a swarm is given, as its container sees it.
type TaskFile struct {
	Data     []byte
	UID, GID int
	Mode     fs.FileMode // its permissions
}
