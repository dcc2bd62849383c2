// Package logoptions says what the options of log drivers mean: which there are, what is
// refused, in Docker's words, and how a driver's own files are kept.
//
// It is pure: whether a server answers is found out by who writes to it.
package logoptions

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/go-units"

	"github.com/linkspan/linkspan/internal/model"
)

// The drivers there are.
const (
	None     = "none"
	JSONFile = "json-file"
	Local    = "local"
	Journald = "journald"
	Syslog   = "syslog"
)

// Drivers returns all of them, sorted.
func Drivers() []string { return []string{JSONFile, Journald, Local, None, Syslog} }

// elsewhere are drivers of Docker's that are not here, and what does their work.
//
//docker:partly container create --log-driver, container run --log-driver, service create --log-driver, service update --log-driver: json-file, local, journald, syslog, none; of the others it says what does their work
var elsewhere = map[string]string{
	"fluentd": "a Fluentd that reads the files of json-file, or listens with its input syslog",
	"gelf":    "syslog: Graylog has an input for it", "awslogs": "the CloudWatch agent on the files of json-file, or on the journal",
	"splunk": "syslog, or Splunk's forwarder on the files of json-file", "gcplogs": "the Ops Agent on the files of json-file, or on the journal",
	"etwlogs": "json-file: this is no Windows",
}

// common are the options that every driver has: what is noted with each line, and how output
// is kept for `docker logs` that is sent elsewhere.
var common = []string{"labels", "labels-regex", "env", "env-regex", "tag", "mode", "max-buffer-size", "cache-disabled", "cache-max-size", "cache-max-file", "cache-compress"}

// own are the options of each driver besides those.
var own = map[string][]string{
	JSONFile: {"max-size", "max-file", "compress"}, Local: {"max-size", "max-file", "compress"}, Journald: {},
	Syslog: {"syslog-address", "syslog-facility", "syslog-format", "syslog-tls-ca-cert", "syslog-tls-cert", "syslog-tls-key", "syslog-tls-skip-verify"},
}

// Check refuses a driver that is not here, and options that it does not have or that cannot be
// meant. Errors are Invalid.
func Check(driver string, options map[string]string) error {
	if driver == None {
		return nil
	}
	if driver == "" {
		driver = JSONFile
	}
	known, ok := own[driver]
	if !ok {
		err := &model.Error{Op: "log.options", Subject: driver, Kind: model.Invalid, Err: fmt.Errorf("logger: no log driver named '%s' is registered", driver)}
		if instead := elsewhere[driver]; instead != "" {
			err.Way = "choose " + strings.Join(Drivers(), ", ") + "; what does the work of " + driver + " is " + instead
		}
		return err
	}
	if err := checkMode(options); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(options)) {
		switch {
		case slices.Contains(known, name) || slices.Contains(common, name):
		case driver == Local:
			return model.Errorf(model.Invalid, "unknown log opt '%s' for log driver local", name)
		default:
			return model.Errorf(model.Invalid, "unknown log opt '%s' for %s log driver", name, driver)
		}
	}
	if driver == Syslog {
		if _, err := ParseSyslog(options); err != nil {
			return model.Errorf(model.Invalid, "%w", err)
		}
	}
	if err := checkFiles(driver, options); err != nil {
		return model.Errorf(model.Invalid, "failed to create task for container: failed to initialize logging driver: %w", err)
	}
	return nil
}

func checkMode(options map[string]string) error {
	mode := options["mode"]
	if !slices.Contains([]string{"", "blocking", "non-blocking"}, mode) {
		return model.Errorf(model.Invalid, "logger: logging mode not supported: %s", mode)
	}
	size, given := options["max-buffer-size"]
	if !given {
		return nil
	}
	if mode != "non-blocking" {
		return model.Errorf(model.Invalid, "logger: max-buffer-size option is only supported with 'mode=non-blocking'")
	}
	if _, err := units.RAMInBytes(size); err != nil {
		return model.Errorf(model.Invalid, "error parsing option max-buffer-size: %w", err)
	}
	return nil
}

// cached are the drivers that send output elsewhere, so that `docker logs` reads what is kept
// here beside.
var cached = []string{Journald, Syslog}

// Cached tells whether a driver sends output elsewhere.
func Cached(driver string) bool { return slices.Contains(cached, driver) }

// Kept tells whether a driver's output can be read here.
func Kept(driver string, options map[string]string) bool {
	switch {
	case driver == None:
		return false
	case !Cached(driver):
		return true
	}
	off, err := strconv.ParseBool(options["cache-disabled"])
	return err != nil || !off
}

// How files are kept where nothing else is said, except with json-file, which lets one grow.
const (
	standardSize  = 20 << 20 // bytes
	standardFiles = 5
)

// Files returns the options, as json-file has them, by which what a driver keeps here is kept.
func Files(driver string, options map[string]string) map[string]string {
	prefix := ""
	switch {
	case driver == Local:
	case Cached(driver):
		prefix = "cache-"
	default:
		return options
	}
	out := map[string]string{"max-size": strconv.Itoa(standardSize), "max-file": strconv.Itoa(standardFiles), "compress": "true"}
	for name := range out {
		if given := options[prefix+name]; given != "" {
			out[name] = given
		}
	}
	if size, err := units.FromHumanSize(out["max-size"]); err == nil && size == 0 {
		delete(out, "max-size") // without a bound
		delete(out, "compress")
	}
	return out
}

// checkFiles refuses what who writes the files would refuse, later and to nobody.
func checkFiles(driver string, options map[string]string) error {
	files := Files(driver, options)
	size, sized := files["max-size"]
	n, err := units.FromHumanSize(size)
	switch {
	case !sized:
	case err != nil && driver != JSONFile:
		return fmt.Errorf("invalid value for max-size: %s: %w", size, err)
	case err != nil:
		return err
	case n < 0 && driver != JSONFile:
		return errors.New("max-size must not be negative")
	case n <= 0:
		return errors.New("max-size must be a positive number")
	}
	count := 1
	if text, given := files["max-file"]; given {
		count, err = strconv.Atoi(text)
		switch {
		case err != nil && driver != JSONFile:
			return fmt.Errorf("invalid value for max-file: %s: %w", text, err)
		case err != nil:
			return err
		case count < 0 && driver != JSONFile:
			return errors.New("max-file must not be negative")
		case count < 1:
			return errors.New("max-file cannot be less than 1")
		}
	}
	text, given := files["compress"]
	if !given {
		return nil
	}
	compress, err := strconv.ParseBool(text)
	switch {
	case err != nil && driver != JSONFile:
		return fmt.Errorf("invalid boolean value for compress: %w", err)
	case err != nil || !compress:
		return err
	case driver != JSONFile && count < 2:
		return errors.New("compression cannot be enabled when max file count is 1")
	case count < 2 || !sized:
		return errors.New("compress cannot be true when max-file is less than 2 or max-size is not set")
	}
	return nil
}

// SyslogServer is where output goes with the driver syslog, and how.
type SyslogServer struct {
	// Network is "tcp", "tcp+tls", "udp", "unix" or "unixgram"; empty, with Address, is the
	// host's own.
	Network, Address string
	Facility         int    // as in RFC 5424: 0 to 23
	Format           string // "", "rfc3164", "rfc5424" or "rfc5424micro"
	CA, Cert, Key    string // paths
	Unverified       bool   // whoever answers
}

// facilities are the names of facilities, by their number (RFC 5424, section 6.2.1).
var facilities = map[string]int{
	"kern": 0, "user": 1, "mail": 2, "daemon": 3, "auth": 4, "syslog": 5, "lpr": 6, "news": 7, "uucp": 8, "cron": 9, "authpriv": 10, "ftp": 11,
	"local0": 16, "local1": 17, "local2": 18, "local3": 19, "local4": 20, "local5": 21, "local6": 22, "local7": 23,
}

// ParseSyslog reads the options of the driver syslog.
func ParseSyslog(options map[string]string) (SyslogServer, error) {
	_, unverified := options["syslog-tls-skip-verify"]
	out := SyslogServer{Facility: facilities["daemon"], Format: options["syslog-format"], CA: options["syslog-tls-ca-cert"],
		Cert: options["syslog-tls-cert"], Key: options["syslog-tls-key"], Unverified: unverified}
	var err error
	if out.Network, out.Address, err = syslogAddress(options["syslog-address"]); err != nil {
		return out, err
	}
	if name := options["syslog-facility"]; name != "" {
		number, known := facilities[name]
		if !known {
			if number, err = strconv.Atoi(name); err != nil || number < 0 || number > 23 {
				return out, errors.New("invalid syslog facility")
			}
		}
		out.Facility = number
	}
	if !slices.Contains([]string{"", "rfc3164", "rfc5424", "rfc5424micro"}, out.Format) {
		return out, errors.New("Invalid syslog format") //nolint:staticcheck // Docker's words
	}
	return out, nil
}

func syslogAddress(text string) (network, address string, err error) {
	if text == "" {
		return "", "", nil
	}
	u, err := url.Parse(text)
	if err != nil {
		return "", "", err
	}
	switch u.Scheme {
	case "unix", "unixgram":
		return u.Scheme, u.Path, nil
	case "udp", "tcp", "tcp+tls":
	default:
		return "", "", fmt.Errorf("unsupported scheme: '%s'", u.Scheme)
	}
	if _, _, err := net.SplitHostPort(u.Host); err != nil {
		if !strings.Contains(err.Error(), "missing port in address") {
			return "", "", err
		}
		return u.Scheme, net.JoinHostPort(strings.Trim(u.Host, "[]"), "514"), nil
	}
	return u.Scheme, u.Host, nil
}
