// Package ocispec translates a container into the configuration that an OCI runtime
// takes (https://github.com/opencontainers/runtime-spec): process, user, capabilities,
// mounts, devices, limits, namespaces, and how it is confined.
//
// It promises Docker's defaults: capabilities, seccomp, masked and read-only paths, and
// that what a user asked for is refused here rather than half-way through a start. It
// must not change anything. Build, Exec and Check compute from what they are given; only
// ReadHost, ResolveUser, devices and the search for an init look at files, and those of a
// container with every link resolved inside it.
package ocispec
