package imagestore

import (
	"testing"

	dockerspec "github.com/moby/docker-image-spec/specs-go/v1"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/linkspan/linkspan/internal/model"
)

// TestCommittedConfig: what an image of a container says, by the instructions that its maker
// gives; the words of the container stay where they say nothing.
func TestCommittedConfig(t *testing.T) {
	ran := model.ImageConfig{Entrypoint: []string{"/run"}, Cmd: []string{"serve"}, Env: []string{"PATH=/bin", "A=1"}, User: "web",
		WorkingDir: "/srv", ExposedPorts: []string{"80/tcp"}, Labels: map[string]string{"a": "1"}, OnBuild: []string{"RUN x"}}
	for name, c := range map[string]struct {
		changes []string
		want    func(*ocispec.ImageConfig)
		onBuild []string
	}{
		"nothing": {nil, func(*ocispec.ImageConfig) {}, nil},
		"an entrypoint leaves the command out": {[]string{`ENTRYPOINT ["/new"]`}, func(c *ocispec.ImageConfig) {
			c.Entrypoint, c.Cmd = []string{"/new"}, nil
		}, nil},
		"and keeps one that is given": {[]string{`CMD ["x"]`, `ENTRYPOINT ["/new"]`}, func(c *ocispec.ImageConfig) {
			c.Entrypoint, c.Cmd = []string{"/new"}, []string{"x"}
		}, nil},
		"no entrypoint": {[]string{`ENTRYPOINT []`}, func(c *ocispec.ImageConfig) { c.Entrypoint = []string{} }, nil},
		"variables": {[]string{`ENV PATH=/x:$PATH B="${A} ${A:-no} ${Z:-yes} ${A:+set}" C='$A' D=\$A E=a$ F=$A1`, "USER $A", "WORKDIR sub/$B"}, func(c *ocispec.ImageConfig) {
			c.Env = []string{"PATH=/x:/bin", "A=1", "B=1 1 yes set", "C=$A", "D=$A", "E=a$", "F="}
			c.User, c.WorkingDir = "1", "/srv/sub/1 1 yes set"
		}, nil},
		"added": {[]string{"EXPOSE 90-91 53/udp", "LABEL b=2", "ONBUILD RUN y", "VOLUME /v"}, func(c *ocispec.ImageConfig) {
			c.ExposedPorts = setOf([]string{"80/tcp", "90/tcp", "91/tcp", "53/udp"})
			c.Labels, c.Volumes = map[string]string{"a": "1", "b": "2"}, setOf([]string{"/v"})
		}, []string{"RUN x", "RUN y"}},
		"several lines": {[]string{"# a remark\nUSER \\\nother\n\nSTOPSIGNAL 9"}, func(c *ocispec.ImageConfig) {
			c.User, c.StopSignal = "other", "9"
		}, nil},
	} {
		base := imageConfig(ran)
		want := imageConfig(ran)
		c.want(&want.ImageConfig)
		if c.onBuild != nil {
			want.OnBuild = c.onBuild
		}
		got, err := applyChanges(base, c.changes)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		inherit(&got, imageConfig(ran))
		same(t, name, got, want)
	}
	for change, want := range map[string]string{
		"RUN x": "run is not a valid change command", "": "file with no instructions", "STOPSIGNAL SIGODD": "invalid signal: SIGODD",
		"EXPOSE x": "invalid containerPort: x", `VOLUME [""]`: "VOLUME specified can not be an empty string",
	} {
		if _, err := applyChanges(dockerspec.DockerOCIImageConfig{}, []string{change}); model.KindOf(err) != model.Invalid || err.Error() != want {
			t.Errorf("%q: %v, want %s", change, err, want)
		}
	}
}
