// Package bench holds the benchmarks of the whole engine on a real kernel. They
// run in network namespaces of their own and compare within one run; nothing
// here is asserted by `make test`.
//
// Below it, peer compares Linkspan with Debian's docker.io, and load is the
// traffic that it makes for that.
package bench
