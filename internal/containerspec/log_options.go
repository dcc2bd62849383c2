package containerspec

import "github.com/linkspan/linkspan/internal/logoptions"

// checkLogging refuses a log that could not be kept. Docker notices some of it
// only when the container is started; its words are the same.
func checkLogging(r Request) error {
	return logoptions.Check(r.Host.LogConfig.Type, r.Host.LogConfig.Config)
}
