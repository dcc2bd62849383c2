package store

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/linkspan/linkspan/internal/model"
	"github.com/linkspan/linkspan/internal/state"
)

var update = flag.Bool("update", false, "write the goldens anew: what is there may only get more fields")

// full returns a record of a class of which every field is set.
func full(t *testing.T, kind state.Kind) any {
	t.Helper()
	switch kind {
	case state.KindHost:
		return filled[model.Host](kind)
	case state.KindNetwork:
		return filled[model.Network](kind)
	case state.KindContainer:
		c := filled[model.Container](kind)
		c.Document = []byte(`{"Version":3}`)
		return c
	case state.KindSandbox:
		return filled[model.Sandbox](kind)
	case state.KindEndpoint:
		return filled[model.Endpoint](kind)
	case state.KindCursor:
		return filled[netip.Addr](kind)
	}
	t.Fatalf("no record of class %q", kind)
	return nil
}

func filled[T any](kind state.Kind) T {
	var v T
	fill(reflect.ValueOf(&v).Elem(), string(kind))
	return v
}

// fill sets every field of a value, at any depth, to what follows from its path.
func fill(v reflect.Value, path string) {
	switch p := v.Addr().Interface().(type) {
	case *time.Time:
		*p = time.Date(2026, 11, 21, 7, 48, 16, len(path), time.UTC)
		return
	case *netip.Addr:
		*p = netip.AddrFrom4([4]byte{192, 0, 2, byte(len(path))})
		return
	case *netip.Prefix:
		*p = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(len(path)), 0, 0}), 24)
		return
	case *[]byte:
		*p = []byte(path)
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(path)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int:
		v.SetInt(int64(len(path)))
	case reflect.Uint8, reflect.Uint16, reflect.Uint64:
		v.SetUint(uint64(len(path)))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), path)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), path)
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		value := reflect.New(v.Type().Elem()).Elem()
		fill(value, path)
		v.SetMapIndex(reflect.ValueOf(path+" key"), value)
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), path+"."+v.Type().Field(i).Name)
		}
	default:
		panic("no value for " + path + " of type " + v.Type().String())
	}
}

// TestGoldens: the written form of each class is what it was. A line that is gone or
// has another name is a migration: it needs another Schema, and a step of bolt's.
func TestGoldens(t *testing.T) {
	for _, kind := range Kinds {
		record := full(t, kind)
		raw, err := Encode(record)
		if err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		if err := json.Indent(&got, raw, "", "\t"); err != nil {
			t.Fatal(err)
		}
		got.WriteByte('\n')
		path := filepath.Join("testdata", fmt.Sprintf("%s.json", kind))
		if *update {
			if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Bytes(), want) {
			t.Errorf("%s is written as\n%s\nand %s says\n%s", kind, got.Bytes(), path, want)
		}
		back, err := Decode(kind, raw)
		if err != nil || !reflect.DeepEqual(back, record) {
			t.Errorf("%s is read as %+v (%v), want %+v", kind, back, err, record)
		}
	}
}
