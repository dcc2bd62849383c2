package model

// RegistryAuth is what a client gives to be known by a registry. Whether it is for one, the
// registry says; empty is nobody.
type RegistryAuth struct {
	Username, Password string
	// ServerAddress is the registry that the rest is for: a host, with or without a port, or
	// a URL. Empty means the one of the image.
	ServerAddress string
	// IdentityToken is a long-lived token, in place of a password; RegistryToken one that is
	// sent to the registry as it is.
	IdentityToken, RegistryToken string
}

// Progress is one line of what is told while an image is moved.
type Progress struct {
	// ID is what the line is about, a layer or a tag; a later line with it replaces an earlier
	// one. Empty: about all.
	ID string
	// Text is Docker's word for what is done: "Downloading".
	Text string
	// Message says that the line has no bar; the other numbers have no meaning then.
	Message bool
	// Current and Total are how far it is, in Units (bytes, if empty). HideCounts: not to be shown.
	Current, Total int64
	Units          string
	HideCounts     bool
	// Replaced says, of a push, that one manifest was sent in place of an index that is not
	// here as a whole; nil otherwise.
	Replaced *ReplacedIndex
}

// ReplacedIndex is an index and the manifest that was pushed in its place.
type ReplacedIndex struct {
	Index, Manifest Descriptor
}

// Descriptor names content (OCI image-spec, descriptor.md).
type Descriptor struct {
	MediaType    string
	Digest       string
	Size         int64 // bytes
	Annotations  map[string]string
	ArtifactType string
	Platform     *Platform // nil if none is known
}

// Platform is what an image runs on (OCI image-spec, image-index.md).
type Platform struct {
	OS, Architecture, Variant string
	OSVersion                 string
	OSFeatures                []string
}

// ImageManifest is one of the manifests that an image's index has, or the only one.
type ImageManifest struct {
	Descriptor Descriptor
	Platform   Platform
	// Of is the digest of the manifest that this one says something about (an attestation); empty
	// for an image.
	Of string
	// Available says that all of it is here; Content and Unpacked are how much is, in bytes.
	Available         bool
	Content, Unpacked int64
}

// Pulled is an image that a pull has brought, or found to be here.
type Pulled struct {
	ID         ImageID
	Name       string // "busybox:latest"
	Repository string // "busybox"
	Digest     string // of its manifest or index
	Newer      bool   // the name stood for something else before, or for nothing
}

// FoundRepository is what a search has found.
type FoundRepository struct {
	Name, Description string
	Stars             int
	Official          bool
}

// RemoteImage is what a registry has under a name.
type RemoteImage struct {
	MediaType string
	Digest    string // of its manifest or index
	Size      int64  // of that, in bytes
	Platforms []Platform
}
