//! Reports of real processes, shortened by hand: threads, frames and sections left out, nothing written anew but the secrets, which
//! all say `hunter2`.

/// .NET 8.0.15, a stack overflow in the second thread, `DOTNET_EnableCrashReportOnly=1`.
pub(super) const DOTNET: &str = r#"{
 "payload" : {
  "protocol_version" : "1.0.0",
  "configuration" : {
   "architecture" : "amd64",
   "version" : "8.0.1525.16413 @Commit: 50c4cb9fc31c47f03eac865d7bc518af173b74b7 "
  },
  "process_name" : "modes.dll",
  "threads" : [
   {
    "is_managed" : "true",
    "crashed" : "false",
    "native_thread_id" : "0x2690",
    "ctx" : {
     "IP" : "0x7f88ed5c3f16",
     "SP" : "0x7ffda9a1bf20",
     "BP" : "0x0"
    },
    "stack_frames" : [
     {
      "is_managed" : "false",
      "module_address" : "0x7f88ed53e000",
      "stack_pointer" : "0x7ffda9a1bf60",
      "native_address" : "0x7f88ed5c65d8",
      "native_offset" : "0xed5c65d8",
      "native_image_offset" : "0x885d8",
      "unmanaged_name" : "pthread_cond_wait",
      "native_module" : "libc.so.6"
     }
    ]
   },
   {
    "is_managed" : "true",
    "crashed" : "true",
    "managed_exception_object" : "0x7f485a800108",
    "managed_exception_type" : "System.StackOverflowException",
    "managed_exception_hresult" : "0x800703e9",
    "native_thread_id" : "0x2698",
    "ctx" : {
     "IP" : "0x7f88ed611c17",
     "SP" : "0x7f88eda26580",
     "BP" : "0x7f88eda26600"
    },
    "stack_frames" : [
     {
      "is_managed" : "true",
      "module_address" : "0x7fc86e410000",
      "stack_pointer" : "0x7f485b7ff020",
      "native_address" : "0x7f886fb133bf",
      "native_offset" : "0x1f",
      "native_image_offset" : "0xffffffff817033bf",
      "token" : "0x6000003",
      "il_offset" : "0x9",
      "method_name" : "Program.Deeper(Int32)",
      "timestamp" : "0x0",
      "sizeofimage" : "0x8000",
      "filename" : "modes.dll",
      "guid" : "3bdb5867c5ac4389ace05e997b2e1d9e"
     },
     {
      "repeated" : "0x1f5b",
      "repeated_frames" : [
       {
        "is_managed" : "true",
        "module_address" : "0x7fc86e410000",
        "stack_pointer" : "0x7f485b7ff040",
        "native_address" : "0x7f886fb133c4",
        "native_offset" : "0x24",
        "token" : "0x6000003",
        "il_offset" : "0xb",
        "method_name" : "Program.Deeper(Int32)",
        "filename" : "modes.dll"
       }
      ]
     },
     {
      "is_managed" : "false",
      "module_address" : "0x0",
      "stack_pointer" : "0x7f485b83b8a0",
      "native_address" : "0x7f88ed29ff27",
      "native_offset" : "0x0",
      "native_image_offset" : "0x7f88ed29ff27"
     },
     {
      "is_managed" : "false",
      "module_address" : "0x7f88ece00000",
      "stack_pointer" : "0x7f485b83b8f0",
      "native_address" : "0x7f88ed0d7db6",
      "native_offset" : "0xed0d7db6",
      "native_image_offset" : "0x2d7db6",
      "native_module" : "libcoreclr.so"
     },
     {
      "is_managed" : "false",
      "module_address" : "0x7f88ed53e000",
      "stack_pointer" : "0x7f88eda26580",
      "native_address" : "0x7f88ed611c17",
      "native_offset" : "0xed611c17",
      "native_image_offset" : "0xd3c17",
      "unmanaged_name" : "wait4",
      "native_module" : "libc.so.6"
     }
    ]
   }
  ]
 },
 "parameters" : {
  "ExceptionType" : "0x05000000"
 }
}
"#;

/// Node.js 20.20.2, `--report-uncaught-exception`.
pub(super) const NODE: &str = r#"
{
  "header": {
    "reportVersion": 4,
    "event": "Exception",
    "trigger": "Exception",
    "filename": "report.20261121.093820.17804.0.001.json",
    "dumpEventTime": "2026-11-21T09:38:20Z",
    "dumpEventTimeStamp": "1795253900936",
    "processId": 17804,
    "threadId": 0,
    "cwd": "/app/hunter2-directory",
    "commandLine": [
      "node",
      "--report-uncaught-exception",
      "order.js",
      "--password=hunter2"
    ],
    "nodejsVersion": "v20.20.2",
    "glibcVersionRuntime": "2.36",
    "wordSize": 64,
    "arch": "x64",
    "platform": "linux",
    "componentVersions": {
      "node": "20.20.2",
      "v8": "11.3.244.8-node.38"
    },
    "osName": "Linux",
    "osMachine": "x86_64",
    "cpus": [
      {
        "model": "AMD EPYC",
        "speed": 0
      }
    ],
    "host": "cart-7d9f6c5b8-x2x9z"
  },
  "javascriptStack": {
    "message": "/app/order.js:7",
    "stack": [
      "throw new TypeError('password: hunter2')",
      "^",
      "",
      "TypeError [ERR_INVALID_ARG_TYPE]: password: hunter2",
      "Caused by: hunter2",
      "at lose (/app/order.js:7:9)",
      "at async Promise.all (index 0)",
      "at Array.map (<anonymous>)",
      "at f (data:text/javascript,function f(){throw new Error(\"hunter2\")};f():1:20)",
      "at Module._compile (node:internal/modules/cjs/loader:1521:14)"
    ],
    "errorProperties": {
      "code": "ERR_INVALID_ARG_TYPE",
      "password": "hunter2"
    }
  },
  "nativeStack": [
    {
      "pc": "0x0000000000d59a08",
      "symbol": " [node]"
    }
  ],
  "workers": [
    {
      "header": {
        "processId": 1,
        "event": "hunter2"
      }
    }
  ],
  "environmentVariables": {
    "DB_PASSWORD": "hunter2",
    "HOSTNAME": "hunter2"
  },
  "sharedObjects": [
    "/lib/x86_64-linux-gnu/libc.so.6"
  ]
}
"#;

/// OpenJDK 17.0.15, `Unsafe.putAddress(16, 1)` in a thread of its own.
pub(super) const HS_ERR: &str = r#"#
# A fatal error has been detected by the Java Runtime Environment:
#
#  SIGSEGV (0xb) at pc=0x00007f9a8b4d2f94, pid=9635, tid=9654
#
# JRE version: OpenJDK Runtime Environment (17.0.15+6) (build 17.0.15+6-Debian-1deb12u1)
# Java VM: OpenJDK 64-Bit Server VM (17.0.15+6-Debian-1deb12u1, mixed mode, sharing, tiered, compressed oops, compressed class ptrs, g1 gc, linux-amd64)
# Problematic frame:
# V  [libjvm.so+0xed2f94]  Unsafe_PutLong+0x124
#
# No core dump will be written. Core dumps have been disabled. To enable core dumping, try "ulimit -c unlimited" before starting Java again
#
# If you would like to submit a bug report, please visit:
#   https://bugs.debian.org/openjdk-17
#

---------------  S U M M A R Y ------------

Command Line: -Xmx64m -Dpassword=hunter2 Crash worker hunter2

Host: AMD EPYC, 2 cores, 23G, Debian GNU/Linux 12 (bookworm)
Time: Sat Nov 21 09:43:19 2026 UTC elapsed time: 0.046928 seconds (0d 0h 0m 0s)

---------------  T H R E A D  ---------------

Current thread (0x00007f9a840b6880):  JavaThread "order id=7 worker" [_thread_in_vm, id=9654, stack(0x00007f9a88537000,0x00007f9a88637000)]

Stack: [0x00007f9a88537000,0x00007f9a88637000],  sp=0x00007f9a886354d0,  free space=1017k
Native frames: (J=compiled Java code, j=interpreted, Vv=VM code, C=native code)
V  [libjvm.so+0xed2f94]  Unsafe_PutLong+0x124
j  jdk.internal.misc.Unsafe.putLong(Ljava/lang/Object;JJ)V+0 java.base@17.0.15
j  Crash.poke(Lsun/misc/Unsafe;)V+5
v  ~StubRoutines::call_stub
V  [libjvm.so+0xc2c5e3]  thread_native_entry(Thread*)+0xe3

Java frames: (J=compiled Java code, j=interpreted, Vv=VM code)
j  jdk.internal.misc.Unsafe.putLong(Ljava/lang/Object;JJ)V+0 java.base@17.0.15
j  Crash.poke(Lsun/misc/Unsafe;)V+5
v  ~StubRoutines::call_stub

siginfo: si_signo: 11 (SIGSEGV), si_code: 1 (SEGV_MAPERR), si_addr: 0x0000000000000010

Registers:
RAX=0x0000000000000000, RBX=0x00007f9a840b6880, RCX=0x0000000000000010, RDX=0x0000000000000000

---------------  P R O C E S S  ---------------

VM Arguments:
jvm_args: -Xmx64m -Dpassword=hunter2 
java_command: Crash worker hunter2

Environment Variables:
DB_PASSWORD=hunter2

---------------  S Y S T E M  ---------------

OS:
Linux hunter2

vm_info: OpenJDK 64-Bit Server VM (17.0.15+6-Debian-1deb12u1) for linux-amd64 JRE (17.0.15+6-Debian-1deb12u1), built on May  1 2025 09:21:09 by "buildd" with gcc 12.2.0

END.
"#;
