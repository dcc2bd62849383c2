package cli

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestShape(t *testing.T) {
	var asked []string
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /linkspan/v1/networks/{network}/shape", func(w http.ResponseWriter, r *http.Request) {
		raw, _ := io.ReadAll(r.Body)
		asked = append(asked, r.PathValue("network")+" "+strings.TrimSpace(string(raw)))
		w.WriteHeader(http.StatusNoContent)
	})
	socket := listening(t, mux)
	for command, want := range map[string]string{
		"network shape web --rate 10mbit":              `web {"Rate":"10mbit"}`,
		"network shape web shop --delay 5ms --loss 1%": `web {"Container":"shop","Delay":"5ms","Loss":"1%"}`,
		"network shape web --none":                     `web {"Rate":"","Delay":"","Loss":""}`,
		"network shape web":                            "",
		"network shape":                                "",
		"network shape web --none --rate 1mbit":        "",
	} {
		asked = nil
		status, out, errs := run(t, "--socket "+socket+" "+command)
		if got := strings.Join(asked, ";"); got != want || (status == 0) != (want != "") {
			t.Errorf("%s: status %d, asked %q, said %q %q", command, status, got, out, errs)
		}
	}
}
