// Package buildkitd is BuildKit as linkspand runs it: a solver with a worker on the
// engine's own containerd, whose build steps are on the engine's own networks.
//
//	docker build ─▶ linkspand ─socket─▶ Server ─▶ BuildKit ─▶ worker ─▶ containerd: snapshots, content, tasks, images
//	                    ▲                                       │
//	                    ╰──────── private socket ◀── network ───╯  a RUN step is a guest of the default bridge
//
// It promises that a step is confined as a container is, that an image that is made is one of
// the engine's at once, and that nothing of a build outlives the process but its cache. It must
// not be linked into the daemon: it is large, and most hosts build rarely.
package buildkitd
