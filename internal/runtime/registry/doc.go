// Package registry speaks with registries of images (OCI distribution-spec, Docker Registry HTTP
// API V2): how one is reached, who one is to it, and what it knows of a name.
//
//	name ─▶ mirrors, then the registry itself ─▶ TLS, proxy, credentials ─▶ bounded HTTP
//
// It promises that what a registry answers is bounded in bytes and in time, that credentials go to
// nobody but the registry they are for, and that errors are told in Docker's words. Moving an
// image is imagestore's.
package registry
