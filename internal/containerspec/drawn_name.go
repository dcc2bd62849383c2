package containerspec

import "strings"

// DrawName returns a name for a container whose user gave none. draw(n) is a number
// from 0 to n-1 by chance.
func DrawName(draw func(n int) int) string {
	first, last := adjectives(), surnames()
	return first[draw(len(first))] + "_" + last[draw(len(last))]
}

func adjectives() []string {
	return strings.Fields(`able amber ample azure bold brave breezy bright brisk calm candid careful cheerful
		clear clever crisp curious daring dapper deft eager early earnest easy elegant fair fearless fine
		fleet fond frank fresh friendly gentle glad golden graceful grand happy hardy honest humble jolly
		keen kind lively loyal lucid lucky mellow merry mild modest neat nimble noble patient placid polite
		prompt proud quick quiet ready robust serene sharp silent smart snug sober solid spry stable steady
		stoic sunny swift tender tidy tranquil upbeat vivid warm wise witty zesty`)
}

// surnames of people to whom networks and computing owe something.
func surnames() []string {
	return strings.Fields(`abramson allen baran bartik bell berners boggs boole cerf cheriton clark codd cohen
		crocker davies deering diffie dijkstra easley engelbart estrin feinler floyd hamilton hamming hedy
		hellman hertz holberton hopper jacobson johnson kahn karels kleinrock knuth lamport lampson licklider
		liskov lovelace marconi maxwell mccarthy mcilroy metcalfe mills mockapetris morse naur nygaard
		nyquist partridge perlman pike plummer postel pouzin rekhter ritchie roberts shannon stallings
		stevens sutherland swinehart taylor thacker thompson tomlinson torvalds turing wirth zimmermann`)
}
