package reader

// Counts returns how many containers are running, paused and stopped.
func (rd *Reader) Counts() (running, paused, stopped int) {
	for _, b := range rd.o.Containers.All() {
		switch s := b.Record().State; {
		case s.Paused:
			paused++
		case s.Running:
			running++
		default:
			stopped++
		}
	}
	return running, paused, stopped
}
