package trace

import "strings"

// OursByName tells whether a rule of iptables is the engine's, by the chain that it is in or
// jumps to.
func OursByName(in, verdict string) bool {
	own := func(chain string) bool {
		return strings.HasPrefix(chain, "LINKSPAN-") || chain != "DOCKER-USER" && strings.HasPrefix(chain, "DOCKER")
	}
	jump, isJump := strings.CutPrefix(verdict, "jump ")
	return own(in) || isJump && (own(jump) || jump == "DOCKER-USER")
}
