package containers

// IsTTY tells whether the container has a terminal: its output is then not
// framed into streams.
func (rd *reader) IsTTY(ref string) (bool, error) {
	b, err := rd.find(ref)
	if err != nil {
		return false, err
	}
	return b.snapshot().Config.Tty, nil
}
