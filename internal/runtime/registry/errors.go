package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	remoteerrors "github.com/containerd/containerd/v2/core/remotes/errors"
	"github.com/containerd/errdefs"
	"github.com/distribution/reference"

	"github.com/linkspan/linkspan/internal/model"
)

// wordsLimit bounds what is repeated of a registry's own words, in bytes.
const wordsLimit = 2048

// Explain returns an error of a registry in Docker's words, and of the kind that Docker answers
// with. It returns nil for nil.
func Explain(err error, ref reference.Named) error {
	if err == nil {
		return nil
	}
	if model.KindOf(err) != model.Internal {
		return err
	}
	if errors.Is(err, docker.ErrInvalidAuthorization) {
		if strings.Contains(err.Error(), "no basic auth credentials") {
			return &model.Error{Op: "registry", Subject: ref.String(), Kind: model.Unfit, Err: err, Way: "docker login " + reference.Domain(ref) + " lets the registry know who you are"}
		}
		return denied(ref)
	}
	if said := spoken(err); said != nil {
		return said
	}
	kind := model.Unfit // not our fault, though Docker answers as if it were
	switch {
	case errdefs.IsNotFound(err):
		kind = model.NotFound
	case errdefs.IsNotImplemented(err):
		kind = model.NotImplemented
	}
	return &model.Error{Op: "registry", Subject: ref.String(), Kind: kind, Err: err, Way: wayOut(err)}
}

// denied is what Docker says where a registry does not tell what is missing from what is not
// to be seen.
func denied(ref reference.Named) error {
	return model.Errorf(model.NotFound, "pull access denied for %s, repository does not exist or may require 'docker login'", reference.FamiliarName(ref))
}

// spoken returns what a registry has said for itself; nil if it said nothing that can be read.
func spoken(err error) error {
	var list docker.Errors
	var one docker.Error
	var status remoteerrors.ErrUnexpectedStatus
	switch {
	case errors.As(err, &list):
	case errors.As(err, &status):
		if list = said(status.Body); len(list) == 0 {
			return unspoken(status, err)
		}
	case errors.As(err, &one):
		list = docker.Errors{one}
	default:
		return nil
	}
	kind, texts := model.Unfit, []string{}
	for _, e := range list {
		k, text := sentence(e)
		if kind == model.Unfit {
			kind = k
		}
		texts = append(texts, text)
	}
	return model.Errorf(kind, "error from registry: %.*s", wordsLimit, printable(strings.Join(texts, "\n")))
}

// said reads the errors in an answer (distribution-spec, "Error Codes"); those it cannot read are
// none.
func said(body []byte) docker.Errors {
	var list docker.Errors
	if json.Unmarshal(body, &list) != nil {
		return nil
	}
	return list
}

// unspoken is what is made of a refusal without a readable reason. Some registries have a form
// of their own for it.
func unspoken(status remoteerrors.ErrUnexpectedStatus, err error) error {
	var old struct {
		Details string `json:"details"`
	}
	readable := json.Unmarshal(status.Body, &old) == nil && old.Details != ""
	kind := model.Unfit
	switch status.StatusCode {
	case http.StatusUnauthorized:
		kind = model.Unauthorized
		if readable {
			return model.Errorf(kind, "%s - %.*s", docker.ErrorCodeUnauthorized.Message(), wordsLimit, printable(old.Details))
		}
	case http.StatusForbidden:
		kind = model.Forbidden
		if readable {
			return model.Errorf(kind, "%s - %.*s", docker.ErrorCodeDenied.Message(), wordsLimit, printable(old.Details))
		}
	case http.StatusNotFound:
		kind = model.NotFound
	case http.StatusTooManyRequests:
		return &model.Error{Op: "registry", Kind: kind, Err: fmt.Errorf("toomanyrequests: %w", err),
			Way: "the registry limits how often one may ask: wait, or docker login to have a higher limit"}
	}
	return &model.Error{Op: "registry", Kind: kind, Err: err}
}

// sentence returns one error of a registry, and its kind.
func sentence(err error) (model.Kind, string) {
	var e docker.Error
	switch { // one without details is read as its code alone
	case errors.As(err, &e):
	case errors.As(err, &e.Code):
	default:
		return model.Unfit, err.Error()
	}
	text := e.Message
	if text == "" {
		text = e.Code.Message()
	}
	if detail, ok := e.Detail.(string); ok {
		text += " - " + detail
	}
	switch e.Code {
	case docker.ErrorCodeUnsupported:
		return model.NotImplemented, text
	case docker.ErrorCodeUnauthorized:
		return model.Unauthorized, text
	case docker.ErrorCodeDenied:
		return model.Forbidden, text
	case docker.ErrorCodeUnavailable:
		return model.Unavailable, text
	}
	return model.Unfit, text
}

// printable leaves out of a registry's words what would act on a terminal.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return -1
		}
		return r
	}, text)
}

// wayOut is what a user can do about an error of the connection.
func wayOut(err error) string {
	switch text := err.Error(); {
	case strings.Contains(text, "server gave HTTP response to HTTPS client"):
		return `the registry speaks plain HTTP: if that is meant, name it in "insecure-registries" of the daemon's configuration`
	case strings.Contains(text, "x509: certificate signed by unknown authority"):
		return "put the certificate of its authority into " + CertsDir + "/HOST[:PORT]/ca.crt"
	}
	return ""
}

// IsTransient tells whether trying again may help: the connection is at fault, or the registry
// has too much to do.
func IsTransient(err error) bool {
	if errors.Is(err, context.Canceled) {
		return false
	}
	var status remoteerrors.ErrUnexpectedStatus
	if errors.As(err, &status) {
		return status.StatusCode >= http.StatusInternalServerError || status.StatusCode == http.StatusTooManyRequests
	}
	var network net.Error
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) ||
		errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNREFUSED) || errors.As(err, &network)
}
