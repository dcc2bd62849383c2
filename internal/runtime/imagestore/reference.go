package imagestore

import (
	"errors"
	"strings"

	"github.com/distribution/reference"
	digest "github.com/opencontainers/go-digest"

	"github.com/linkspan/linkspan/internal/model"
)

// AnchorPrefix begins the names of records that are not tags: every image has
// one, so that its content stays when its last tag moves to another image. No
// reference that a user can write begins like this.
const AnchorPrefix = "keeper.linkspan.internal@"

// anchorName returns the name of the anchor of a manifest or index.
func anchorName(target digest.Digest) string { return AnchorPrefix + target.String() }

// isAnchor tells an anchor from a tag.
func isAnchor(name string) bool { return strings.HasPrefix(name, AnchorPrefix) }

// normalize brings a reference into the form in which it is stored:
// "docker.io/library/busybox:latest" for "busybox". A reference with both tag
// and digest loses the tag, as Docker does.
func normalize(ref string) (string, error) {
	named, err := reference.ParseDockerRef(ref)
	if err != nil {
		return "", &model.Error{Op: "image.reference", Subject: ref, Kind: model.Invalid, Err: err}
	}
	return named.String(), nil
}

// familiar is the reverse, for people: "busybox:latest".
func familiar(name string) string {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return name
	}
	return reference.FamiliarString(named)
}

// withDigest returns "repository@digest", for people, of a stored name that points to that.
func withDigest(name string, target digest.Digest) string {
	repo, _ := repository(name)
	return familiar(repo + "@" + target.String())
}

// hasDigest tells whether a stored name is of the form name@digest.
func hasDigest(name string) bool {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return false
	}
	_, ok := named.(reference.Digested)
	return ok
}

// tagTarget checks a name that is to become a tag.
func tagTarget(ref string) (string, error) {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return "", &model.Error{Op: "image.tag", Subject: ref, Kind: model.Invalid, Err: err}
	}
	if _, ok := named.(reference.Digested); ok {
		return "", model.Errorf(model.Invalid, "refusing to create a tag with a digest reference")
	}
	return reference.TagNameOnly(named).String(), nil
}

// layoutName gives a name to an image of an OCI layout, whose annotation may be
// a full reference or a bare tag. A bare tag names nothing.
func layoutName(annotation string) string {
	if !strings.ContainsAny(annotation, "/:") {
		return ""
	}
	name, err := normalize(annotation)
	if err != nil {
		return ""
	}
	return name
}

// repository returns the stored form of a reference's name, and whether the
// reference is nothing but a name.
func repository(ref string) (name string, only bool) {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return "", false
	}
	return named.Name(), reference.IsNameOnly(named)
}

// idPrefix returns the digits of an image ID or of its beginning.
func idPrefix(ref string) (string, bool) {
	digits := strings.TrimPrefix(ref, "sha256:")
	if digits == "" || len(digits) > 64 || strings.Trim(digits, "0123456789abcdef") != "" {
		return "", false
	}
	return digits, true
}

// noSuchImage is Docker's answer to a reference that names nothing.
func noSuchImage(ref string) error {
	shown := ref
	if _, isID := idPrefix(ref); !isID {
		named, err := reference.ParseNormalizedNamed(ref)
		if err != nil {
			return &model.Error{Op: "image.get", Subject: ref, Kind: model.Invalid, Err: err}
		}
		shown = reference.FamiliarString(reference.TagNameOnly(named))
	}
	return &model.Error{Op: "image.get", Subject: ref, Kind: model.NotFound,
		Err: errors.New("No such image: " + shown)}
}
