// Package swarm is the part of the engine that belongs to a swarm: it makes this
// host a node of one, and keeps its networks and the containers on them.
package swarm
