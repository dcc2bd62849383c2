// Package cni checks whether a CNI plugin keeps to the specification
// (https://www.cni.dev/docs/spec/, versions 0.3.1 to 1.1.0): a table of cases, each with
// the sentence that it is taken from, played against any plugin as a runtime would.
//
//	Plugin ─▶ Run: a case at a time, in each version ─▶ Report
//
// It knows nothing about the plugin but its binary and its configuration, and looks at
// what the kernel has with ip(8). It makes and removes network namespaces named
// "conform…": play it on a host where that does no harm.
package cni
