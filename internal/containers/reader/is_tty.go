package reader

// IsTTY tells whether the container has a terminal: its output is then not
// framed into streams.
func (rd *Reader) IsTTY(ref string) (bool, error) {
	b, err := rd.o.Containers.Find(ref)
	if err != nil {
		return false, err
	}
	return b.Record().Config.Tty, nil
}
