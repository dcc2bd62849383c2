package model

// OptionEncrypted asks that what a network's containers on several hosts say to one another
// is encrypted between the hosts. That it is there counts, not its value, as with Docker.
const OptionEncrypted = "encrypted"

// Encrypted tells whether the network's packets shall leave the host only encrypted.
func (n Network) Encrypted() bool {
	_, asked := n.Options[OptionEncrypted]
	return asked && n.Overlay()
}

// NotEncrypted refuses a network whose packets would leave the host in clear, though its
// user asked for the opposite.
func NotEncrypted() error {
	return &Error{Op: "network.create", Kind: NotImplemented,
		Err: Errorf(NotImplemented, "encrypted overlay networks are not supported"),
		Who: "nothing that was asked to be encrypted is sent in clear",
		Way: "leave out --opt encrypted, and encrypt what the hosts say to one another below: WireGuard or IPsec between them"}
}
