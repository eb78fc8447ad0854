/*
 * asan_unwind.c
 *	  Tells the address sanitizer of every jump out of nested functions.
 *
 * An error in the server leaves the functions in between by siglongjmp(), and
 * what the sanitizer had marked on their stack must be unmarked.  Where it is
 * loaded behind libc it does not see the jump; this library, loaded ahead of
 * both, passes the word.  For make test-asan alone.
 *
 * SPDX-License-Identifier: PostgreSQL
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <setjmp.h>
#include <stdlib.h>

extern void __asan_handle_no_return(void) __attribute__((weak));

typedef void (*jump_function) (struct __jmp_buf_tag *env, int value);

static _Noreturn void
jump(const char *name, struct __jmp_buf_tag env[1], int value)
{
	jump_function real = (jump_function) dlsym(RTLD_NEXT, name);

	if (__asan_handle_no_return)
		__asan_handle_no_return();
	if (real)
		real(env, value);
	abort();
}

/* What PostgreSQL calls when it is compiled with _FORTIFY_SOURCE, and without. */
_Noreturn void
__longjmp_chk(struct __jmp_buf_tag env[1], int value)
{
	jump("__longjmp_chk", env, value);
}

#undef siglongjmp
_Noreturn void
siglongjmp(struct __jmp_buf_tag env[1], int value)
{
	jump("siglongjmp", env, value);
}
