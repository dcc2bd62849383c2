package desired

// Suspicion says that somebody else may have changed rows of an owner. It is a hint:
// whether anything is lost, only a look can tell.
type Suspicion struct {
	// Owner is whose rows: one that a State has, or Firewall, or EverythingOnHost.
	Owner Owner
	// Who did it, as far as the kernel tells; empty if it does not.
	Who string
}

// What is looked at as a whole goes by these names, as if it were an owner.
const (
	// Firewall is all rows of KindPolicy.
	Firewall Owner = "firewall"
	// EverythingOnHost is Firewall, and all rows in HostNamespace.
	EverythingOnHost Owner = "everything"
)
