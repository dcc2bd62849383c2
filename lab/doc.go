// Package lab builds hosts out of namespaces, so that an engine can be started, used, killed and taken apart without
// the machine it runs on noticing.
//
//	           world  198.51.100.1  2001:db8:1::1    the outside: the hosts' default gateway, and their DNS server;
//	             │                                   203.0.113.1 and 2001:db8:ffff::1 lie beyond the gateway
//	lan  ────────┼──────────┬─────────               a switch
//	             │          │
//	            h1         h2 …                      engine hosts: 198.51.100.11, .12 …  2001:db8:1::11, ::12 …
//
// Every machine of a lab (lan and world too) is one first process with its own network, mount, process and host-name
// namespaces, a private /run with a private /run/netns in it, a /sys that shows its own interfaces and below it the
// cgroups of the real machine, its own /etc/hosts and /etc/resolv.conf. No namespace is given a name outside: whoever
// ends the first process ends all of it, and if the program that built the lab is killed, its labs end with it.
//
// The package must never change the network, the mounts or the cgroups of the real machine, except that containers'
// cgroups appear below /sys/fs/cgroup while a host runs; Close removes those and reports whatever else is left.
//
// It needs root, and from Debian: bash, iproute2, util-linux, procps, dnsmasq-base, and nftables for CheckClean.
package lab
