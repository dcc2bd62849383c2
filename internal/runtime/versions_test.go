package runtime

import (
	"testing"

	"github.com/linkspan/linkspan/internal/model"
)

func TestParseVersion(t *testing.T) {
	for text, want := range map[string]model.Component{
		"runc version 1.1.5+ds1\ncommit: 1.1.5+ds1-1+deb12u1\nspec: 1.0.2-dev\ngo: go1.19.8\nlibseccomp: 2.5.4\n": {Version: "1.1.5+ds1", Commit: "1.1.5+ds1-1+deb12u1"},
		"runc version 1.3.0\ncommit: v1.3.0-0-g4ca628d1\n":                                                        {Version: "1.3.0", Commit: "v1.3.0-0-g4ca628d1"},
		"tini version 0.19.0 - git.de40ad0\n":                                                                     {Version: "0.19.0", Commit: "de40ad0"},
		"tini version 0.19.0\n":                                                                                   {Version: "0.19.0"},
		"":                                                                                                        {}, "what?\n": {},
	} {
		want.Name = "x"
		if got := parseVersion("x", text); got != want {
			t.Errorf("%q: %+v", text, got)
		}
	}
}
