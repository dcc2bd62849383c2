package ops

import (
	"slices"

	"github.com/linkspan/linkspan/internal/model"
)

// Unlink returns the op for `docker rm --link`: id may not reach target for the
// sake of a link any more. A link that is gone already is success.
func Unlink(id, target model.SandboxID) Op {
	return func(tx Tx) error {
		if sb, ok := tx.View().Sandbox(id); ok {
			sb.Links = withoutTarget(sb.Links, target)
			tx.PutSandbox(sb)
		}
		if sb, ok := tx.View().Sandbox(target); ok {
			sb.LinkedBy = withoutSandbox(sb.LinkedBy, id)
			tx.PutSandbox(sb)
		}
		return nil
	}
}

// enterLinks lets the targets of a new sandbox's links know of it. Targets that
// are gone are left out.
func enterLinks(tx Tx, sb model.Sandbox) model.Sandbox {
	sb.Links = slices.DeleteFunc(slices.Clone(sb.Links), func(l model.SandboxLink) bool {
		target, ok := tx.View().Sandbox(l.Target)
		if ok {
			target.LinkedBy = append(slices.Clone(target.LinkedBy), sb.ID)
			tx.PutSandbox(target)
		}
		return !ok
	})
	return sb
}

// dropLinks ends all links from and to a sandbox that is about to go.
func dropLinks(tx Tx, sb model.Sandbox) {
	for _, l := range sb.Links {
		if target, ok := tx.View().Sandbox(l.Target); ok {
			target.LinkedBy = withoutSandbox(target.LinkedBy, sb.ID)
			tx.PutSandbox(target)
		}
	}
	for _, id := range sb.LinkedBy {
		if from, ok := tx.View().Sandbox(id); ok {
			from.Links = withoutTarget(from.Links, sb.ID)
			tx.PutSandbox(from)
		}
	}
}

// touchLinkers has what links to a sandbox open planned anew: it depends on the
// addresses at both ends, and is planned with the sandbox that links.
func touchLinkers(tx Tx, sb model.Sandbox) {
	for _, id := range sb.LinkedBy {
		if from, ok := tx.View().Sandbox(id); ok && from.Up {
			tx.PutSandbox(from)
		}
	}
}

func withoutTarget(links []model.SandboxLink, id model.SandboxID) []model.SandboxLink {
	return slices.DeleteFunc(slices.Clone(links), func(l model.SandboxLink) bool { return l.Target == id })
}

func withoutSandbox(ids []model.SandboxID, id model.SandboxID) []model.SandboxID {
	return slices.DeleteFunc(slices.Clone(ids), func(other model.SandboxID) bool { return other == id })
}
