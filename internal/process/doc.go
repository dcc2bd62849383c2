// Package process starts and follows the programs that outlive the daemon, and knows any
// process for good: by its pid, its start time and the boot.
//
// It promises that no signal reaches a process that only has the pid of the one that was
// meant. It must not decide when a program is started or ended.
package process
