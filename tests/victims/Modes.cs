// modes MODE: one way of dying each. Plain C# 6 without newer types, so that mono's compiler makes an assembly that .NET runs as it is.
using System;
using System.Collections.Generic;
using System.Runtime.InteropServices;
using System.Threading;

public class OrderLost : Exception
{
    public OrderLost(string message, Exception inner) : base(message, inner) { }
}

public static class Program
{
    // Live objects, so that a heap dump differs from a mini dump.
    static readonly List<string[]> kept = new List<string[]>();

    [DllImport("libc", EntryPoint = "abort")]
    static extern void NativeAbort();

    [DllImport("libc", EntryPoint = "strlen")]
    static extern IntPtr NativeLength(IntPtr text);

    // Ends without an answer only if the stack does: nothing else stops it.
    static int Deeper(int level)
    {
        return level < 0 ? 0 : Deeper(level + 1) + 1;
    }

    static void LoseOrder()
    {
        throw new OrderLost("order 4711 was lost", new InvalidOperationException("the ledger is closed"));
    }

    static void Die(string mode)
    {
        switch (mode)
        {
            case "exception":
                LoseOrder();
                break;
            case "worker":
                var worker = new Thread(LoseOrder);
                worker.Name = "order-worker";
                worker.Start();
                worker.Join();
                break;
            case "nullref":
                string nothing = null;
                Console.WriteLine(nothing.Length);
                break;
            case "failfast":
                Environment.FailFast("the ledger is closed");
                break;
            case "stackoverflow":
                // A small stack: with a crash report, createdump walks every frame, and takes minutes over the hundred thousand of a main thread.
                var diver = new Thread(() => Console.WriteLine(Deeper(0)), 256 * 1024);
                diver.Start();
                diver.Join();
                break;
            case "segv":
                NativeLength(new IntPtr(8));
                break;
            case "abort":
                NativeAbort();
                break;
            case "exit":
                Environment.Exit(3);
                break;
            default:
                Console.Error.WriteLine("modes: no such mode: " + mode + " (exception worker nullref failfast stackoverflow segv abort exit)");
                Environment.Exit(2);
                break;
        }
    }

    public static void Main(string[] arguments)
    {
        for (int number = 0; number < 20000; number++)
        {
            kept.Add(new[] { "order", number.ToString(), new string('x', number % 512) });
        }
        Console.WriteLine("ready");
        Console.Out.Flush();
        Console.ReadLine();
        Die(arguments.Length > 0 ? arguments[0] : "exception");
    }
}
