package containerrecord

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
)

// filler sets every field of a value, at any depth, to what follows from the
// field's path: none can be taken for another, and another field more changes none.
// With a source of chance it leaves some out.
type filler struct {
	rng *rand.Rand // nil sets all
}

// full returns a record of which every field is set.
func full() Record { return filled(&filler{}) }

func filled(f *filler) Record {
	r := Record{Config: &container.Config{}, Host: &container.HostConfig{}}
	config, host := r.Config, r.Host
	f.fill(reflect.ValueOf(&r).Elem(), "")
	f.fill(reflect.ValueOf(config).Elem(), "Config")
	f.fill(reflect.ValueOf(host).Elem(), "Host")
	r.ID, r.Name, r.Config, r.Host = "c1", "one", config, host
	return r
}

// some returns a small number, which may be 0 if there is chance.
func (f *filler) some() int {
	if f.rng == nil {
		return 2
	}
	return f.rng.IntN(4)
}

// missing tells whether a value is to be left out, as null.
func (f *filler) missing() bool { return f.rng != nil && f.rng.IntN(3) == 0 }

// number returns a number that follows from the path: 1 to 30 011.
func number(path string) uint16 {
	h := fnv.New32()
	h.Write([]byte(path))
	return uint16(1 + h.Sum32()%30011)
}

func (f *filler) fill(v reflect.Value, path string) {
	if f.missing() || leaf(v, path) {
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(path + "<&> ü")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(-int64(number(path)))
	case reflect.Uint, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(number(path)))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		f.fill(v.Elem(), path)
	case reflect.Array:
		for i := range v.Len() {
			f.fill(v.Index(i), at(path, i))
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), f.some(), 10))
		for i := range v.Len() {
			f.fill(v.Index(i), at(path, i))
		}
	case reflect.Map:
		f.fillMap(v, path)
	case reflect.Struct:
		for i := range v.NumField() {
			f.fill(v.Field(i), path+"."+v.Type().Field(i).Name)
		}
	default:
		panic("no value for " + path + " of type " + v.Type().String())
	}
}

func at(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }

// fillMap fills a map; one of ports with enough in a row to be ranges.
func (f *filler) fillMap(v reflect.Value, path string) {
	v.Set(reflect.MakeMap(v.Type()))
	for i := range f.some() {
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		f.fill(value, at(path, i))
		if port, ok := key.Addr().Interface().(*network.Port); ok {
			for n := range uint16(1 + 8*f.some()) {
				*port, _ = network.PortFrom(number(path)+uint16(100*i)+n, network.TCP)
				v.SetMapIndex(key, value)
			}
			continue
		}
		f.fill(key, at(path, i))
		v.SetMapIndex(key, value)
	}
}

// leaf sets values that are one though they look like more.
func leaf(v reflect.Value, path string) bool {
	n := number(path)
	switch p := v.Addr().Interface().(type) {
	case *time.Time:
		*p = time.Unix(int64(n), 5).UTC()
	case *netip.Addr:
		*p = netip.AddrFrom4([4]byte{192, 0, byte(n >> 8), byte(n)})
	default:
		return false
	}
	return true
}

// differences lists the fields, as "Host.Binds", that two values do not share.
func differences(a, b reflect.Value, path string) []string {
	switch {
	case reflect.DeepEqual(a.Interface(), b.Interface()):
		return nil
	case a.Kind() == reflect.Pointer && !a.IsNil() && !b.IsNil():
		return differences(a.Elem(), b.Elem(), path)
	case a.Kind() == reflect.Slice && a.Len() == b.Len():
		var out []string
		for i := range a.Len() {
			out = append(out, differences(a.Index(i), b.Index(i), path)...)
		}
		return out
	case a.Kind() == reflect.Struct && a.NumField() > 0 && a.Type().Field(0).IsExported():
		var out []string
		for i := range a.NumField() {
			out = append(out, differences(a.Field(i), b.Field(i), path+"."+a.Type().Field(i).Name)...)
		}
		return out
	}
	return []string{path}
}
