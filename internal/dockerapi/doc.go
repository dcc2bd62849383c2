// Package dockerapi is the door for Docker clients: the Docker Engine HTTP API
// from version 1.24 to 1.56, and the private socket for metrics and state.
//
//	request ─▶ version ─▶ route ─▶ handler of the resource ─▶ hub ─▶ answer
//
// The handlers are in a folder a resource, which declares what it needs of a hub;
// what they share is in httpkit; what this engine does not have is in unsupported.go;
// the private socket is in private.
//
// It promises that whatever bytes come in, the answer is one that Docker would
// give: the same statuses, the same first line of every error, fields as the
// version that was asked for knows them. It translates and decides nothing: it
// must not hold state of its own, know rules of networks or containers, or touch
// the kernel.
//
// The wire's words are those of github.com/moby/moby/api; what that module no
// longer has, because today's Docker refuses old clients, is declared here in
// types whose names begin with "legacy".
package dockerapi
