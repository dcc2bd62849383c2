package containers

// Counts returns how many containers are running, paused and stopped.
func (rd *reader) Counts() (running, paused, stopped int) {
	for _, b := range rd.all() {
		switch s := b.snapshot().State; {
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
