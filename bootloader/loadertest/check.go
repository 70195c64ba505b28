package loadertest

import (
	"fmt"
	"reflect"
	"testing"
)

// What the suite needs to say of a result; each ends the test when it does not hold. about is a format and its
// arguments.

func noError(t testing.TB, err error, about ...any) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s%v", tell(about), err)
	}
}

func isError(t testing.TB, err error, about ...any) {
	t.Helper()
	if err == nil {
		t.Fatalf("%sno error", tell(about))
	}
}

func equal(t testing.TB, want, got any, about ...any) {
	t.Helper()
	if !reflect.DeepEqual(want, got) {
		t.Fatalf("%sis %v, want %v", tell(about), got, want)
	}
}

func holds(t testing.TB, ok bool, about ...any) {
	t.Helper()
	if !ok {
		t.Fatalf("%sis not so", tell(about))
	}
}

func tell(about []any) string {
	if len(about) == 0 {
		return ""
	}
	return fmt.Sprintf(about[0].(string), about[1:]...) + ": "
}
